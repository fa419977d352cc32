"""The benchmark's documents and queries: parsers of Debian's files, and translations of queries."""

import json
import sqlite3
from pathlib import Path

import pytest

from bench.harness import dictd
from bench.harness.corpus import glosses
from bench.search.debian import stanzas
from bench.search.documents import Documents
from bench.search.queries import (
    Query,
    read_plainly,
    read_queries,
    shuffled,
    to_fts5,
    to_tsquery,
    words_of,
    write_plainly,
)

TEXTS = {
    1: "red lamp",
    2: "lamp that is red",
    3: "a blue lamp",
    4: "the red car and the red lamp",
    5: "nothing of it",
}


def test_dictd_entries_are_cut_by_their_offsets() -> None:
    """Offsets count bytes in base 64; another headword of an entry and the header are left out."""
    text = "about this\nábc   one\n two\nxyz".encode()
    index = "00-database-info\tA\tL\nabc\tL\tQ\nother abc\tL\tQ\nxyz\tb\tD\toriginal\n"
    assert list(dictd.entries(index, text)) == [
        ("L", "abc", "ábc one two"),
        ("b", "xyz", "xyz"),
    ]


@pytest.mark.parametrize(("digits", "number"), [("A", 0), ("/", 63), ("BA", 64), ("PZ0O", 4037902)])
def test_digits_of_base_64_are_those_of_rfc_4648(digits: str, number: int) -> None:
    """A number is written with the alphabet of base 64, most significant digit first."""
    assert dictd._number(digits) == number


def test_gloss_has_its_words_and_no_licence() -> None:
    """Underscores are spaces, and lines that begin with two spaces are the licence."""
    data = (
        "  1 This software and database is being provided\n"
        '00001740 03 n 02 entity 0 whole_thing 1 003 ~ 00001930 n 0000 | that which is; "it"  \n'
    )
    assert list(glosses("noun", data)) == [
        {
            "id": "wordnet-noun-00001740",
            "title": "entity, whole thing",
            "text": 'that which is; "it"',
        }
    ]


def test_description_is_one_line_of_its_stanza() -> None:
    """Continuation lines are joined, empty ones left out, and a package appears once."""
    text = (
        "Package: lamp\nDescription-md5: 0\nDescription-en: A lamp\n It glows.\n .\n In red.\n\n"
        "Package: lamp\nDescription-en: Another\n\nPackage: none\nDescription-md5: 1\n"
    )
    assert list(stanzas(text)) == [("lamp", "A lamp It glows. In red.")]


def test_documents_are_read_up_to_a_limit(tmp_path: Path) -> None:
    """The first lines are given, and all without a limit."""
    path = tmp_path / "documents.ndjson"
    path.write_bytes(b"1\n2\n3\n")
    documents = Documents(path, {"a": "1"}, {"a": 3})
    assert list(documents.lines(2)) == [b"1\n", b"2\n"]
    assert len(list(documents.lines())) == documents.total == 3


def test_queries_keep_their_kind_through_the_plain_file(tmp_path: Path) -> None:
    """What engines read is what the file of queries says, in a fixed other order."""
    lines = [{"query": f'+a{number} "b c"', "tags": ["phrase", "x"]} for number in range(30)]
    source = tmp_path / "queries.txt"
    source.write_text("".join(f"{json.dumps(one)}\n" for one in lines), encoding="utf-8")
    found = read_queries(source)
    mixed = shuffled(found)
    write_plainly(tmp_path / "plain.tsv", mixed)
    assert read_plainly(tmp_path / "plain.tsv") == mixed
    assert mixed == shuffled(found) != found
    assert sorted(one.text for one in mixed) == sorted(str(one["query"]) for one in lines)


@pytest.mark.parametrize(
    ("text", "fts5", "tsquery"),
    [
        ("the", '"the"', "'the'"),
        ("red lamp", '"red" OR "lamp"', "'red' | 'lamp'"),
        ("+red +Lamp", '"red" AND "lamp"', "'red' & 'lamp'"),
        ('"red lamp"', '"red lamp"', "('red' <-> 'lamp')"),
        ('+"red lamp" +car', '"red lamp" AND "car"', "('red' <-> 'lamp') & 'car'"),
        ("+red lamp", '"red" AND ("red" OR "lamp")', "'red' & ('red' | 'lamp')"),
        ("+red -car", '"red" NOT "car"', "'red' & !'car'"),
        ("+red +lamp -car", '("red" AND "lamp") NOT "car"', "'red' & 'lamp' & !'car'"),
        ("red lamp -car", '("red" OR "lamp") NOT "car"', "('red' | 'lamp') & !'car'"),
        ("o'red", '"o red"', "('o' <-> 'red')"),
    ],
)
def test_translations(text: str, fts5: str, tsquery: str) -> None:
    """Each kind of query is written as the engines' documentation has it."""
    query = Query(text, "any")
    assert to_fts5(query) == fts5
    assert to_tsquery(query) == tsquery


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ("red lamp", {1, 2, 3, 4}),
        ("+red +lamp", {1, 2, 4}),
        ('"red lamp"', {1, 4}),
        ("+lamp blue", {1, 2, 3, 4}),
        ("+lamp -car", {1, 2, 3}),
        ("+red +lamp -car -that", {1}),
        ("red blue -car", {1, 2, 3}),
    ],
)
def test_fts5_matches_what_the_query_says(text: str, matching: set[int]) -> None:
    """SQLite finds the documents that have what is demanded and nothing that is excluded."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE texts USING fts5(text)")
    connection.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", TEXTS.items())
    found = connection.execute(
        "SELECT rowid FROM texts WHERE texts MATCH ?", (to_fts5(Query(text, "any")),)
    ).fetchall()
    connection.close()
    assert {number for (number,) in found} == matching


def test_words_are_runs_of_letters_and_digits() -> None:
    """Underscores and signs separate words, and case is dropped."""
    assert words_of("Élan_vital, x86-64!") == ("élan", "vital", "x86", "64")
