"""Scores are BM25's, a shard's are those of the whole collection, operators keep their sense."""

import json
import math
import operator
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.collection import define
from hedgerow.common.partition import shard_of
from hedgerow.common.query.analysers import analyser_of
from hedgerow.common.query.syntax import parse
from hedgerow.shard_worker.scoring.query_builder import QueryBuilder
from hedgerow.shard_worker.scoring.retrieval import retrieve
from hedgerow.shard_worker.storage.length_padding import balance
from hedgerow.shard_worker.storage.term_statistics import (
    FieldStatistics,
    Statistics,
    TermStatistics,
    collect,
    merge,
    write_table,
)
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from tests.unit.support.shards import OneShard

COLLECTION = define("c", {"fields": {"title": "text", "body": "text", "year": "integer"}}, uid="u")
WORDS = [f"w{number}" for number in range(40)]

QUERIES = [
    "w1",
    "w1 w2 w3",
    "w1 w1 w2",
    "+w1 w2",
    "+w1 +w2",
    "w1 -w2",
    "w1 AND (w2 OR w3)",
    "title:w1",
    "title:w1^3 body:w2",
    "title:(w1 w2)",
    '"w1 w2"',
    'body:"w1 w2"',
    "(w1 w2)^2 w3",
    "w1-w2",
    "w1 the w2",
    "+w1 NOT title:w2",
]


def corpus(count: int, seed: int) -> list[dict[str, Any]]:
    """Documents of words with a steep distribution; under 40 words, so that lengths are exact."""
    rng = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(len(WORDS))]
    return [
        {
            "id": f"d{number}",
            "title": " ".join(rng.choices(WORDS, weights, k=rng.randint(1, 5))),
            "body": " ".join(rng.choices(WORDS, weights, k=rng.randint(1, 30))),
            "year": number % 10,
        }
        for number in range(count)
    ]


def index_of(folder: Path, documents: list[dict[str, Any]]) -> TextIndex:
    """An index of some documents, committed in three parts."""
    writer = TextIndexWriter.open(folder, COLLECTION)
    for start in range(3):
        writer.apply([], [(one["id"], one) for one in documents[start::3]])
        writer.commit()
    writer.close()
    return TextIndex.open(folder)


def scores(
    index: TextIndex, query: str, statistics: TermStatistics | None = None, k: int = 1000
) -> dict[str, float]:
    """Id → score of all that matches."""
    tree = parse(query, COLLECTION, strict=False)[0]
    built = QueryBuilder(index, statistics).build(tree)
    return {one: score for score, one in retrieve(index, built, k).hits}


def bm25(documents: list[dict[str, Any]], words: list[str]) -> dict[str, float]:
    """BM25 by its formula over title and body together (k1 1.2, b 0.75, Lucene's idf)."""
    bags = {one["id"]: Counter(f"{one['title']} {one['body']}".split()) for one in documents}
    average = sum(bag.total() for bag in bags.values()) / len(bags)
    found: dict[str, float] = {}
    for word in words:
        frequency = sum(word in bag for bag in bags.values())
        weight = math.log(1 + (len(bags) - frequency + 0.5) / (frequency + 0.5))
        for one, bag in bags.items():
            if bag[word]:
                norm = 1.2 * (0.25 + 0.75 * bag.total() / average)
                score = weight * 2.2 * bag[word] / (bag[word] + norm)
                found[one] = found.get(one, 0.0) + score
    return found


def test_words_score_by_the_formula_of_bm25(tmp_path: Path) -> None:
    """Scores are those of the published formula, worked out independently."""
    documents = corpus(60, seed=1)
    index = index_of(tmp_path, documents)
    for words in (["w0"], ["w3", "w7"], ["w1", "w1", "w20"]):
        expected = bm25(documents, words)
        assert scores(index, " ".join(words)) == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextIndex, list[TextIndex], Path]:
    """A collection in one index, in five that are balanced, and the table of its statistics."""
    root = tmp_path_factory.mktemp("split")
    documents = corpus(400, seed=2)
    whole = index_of(root / "whole", documents)
    parts = [
        index_of(root / str(shard), [one for one in documents if shard_of(one["id"], 5) == shard])
        for shard in range(5)
    ]
    statistics = merge(collect(part) for part in parts)
    write_table(root / "statistics.sqlite", statistics)
    table = TermStatistics.open(root / "statistics.sqlite")
    for part in parts:
        writer = TextIndexWriter.open(part.path, COLLECTION)
        balance(writer, table.average_lengths)
        writer.close()
    table.close()
    return whole, [TextIndex.open(part.path) for part in parts], root / "statistics.sqlite"


def test_a_loose_phrase_matches_the_same_documents_on_shards(
    split: tuple[TextIndex, list[TextIndex], Path],
) -> None:
    """Slop matches alike; how often it counts a match depends in tantivy on the words' frequencies.

    So the scores of such phrases may differ a little between shards, and are not compared.
    """
    whole, parts, path = split
    table = TermStatistics.open(path)
    found = {one for part in parts for one in scores(part, '"w1 w2"~3', table)}
    table.close()
    assert found == scores(whole, '"w1 w2"~3').keys()
    assert found > scores(whole, '"w1 w2"').keys()


@pytest.mark.parametrize("query", QUERIES)
def test_shards_score_as_one_index_would(
    split: tuple[TextIndex, list[TextIndex], Path], query: str
) -> None:
    """Every document has on its shard the score that it has in an index of the whole collection."""
    whole, parts, path = split
    table = TermStatistics.open(path)
    together: dict[str, float] = {}
    for part in parts:
        together |= scores(part, query, table)
    table.close()
    assert together == pytest.approx(scores(whole, query), rel=1e-4)


def test_a_handful_of_documents_on_more_shards_than_that_rank_as_one(tmp_path: Path) -> None:
    """Shards of one document, or none, that hold more padding than documents, score alike too."""
    documents = corpus(6, seed=6)
    whole = index_of(tmp_path / "whole", documents)
    parts = [index_of(tmp_path / one["id"], [one]) for one in documents]
    parts.append(index_of(tmp_path / "empty", []))
    write_table(tmp_path / "table", merge(collect(part) for part in parts))
    table = TermStatistics.open(tmp_path / "table")
    together: dict[str, float] = {}
    for part in parts:
        writer = TextIndexWriter.open(part.path, COLLECTION)
        balance(writer, table.average_lengths)
        writer.close()
        together |= scores(TextIndex.open(part.path), "w0 w1 w2", table)
    table.close()
    assert together == pytest.approx(scores(whole, "w0 w1 w2"), rel=2e-3)


def test_without_the_statistics_they_would_not(
    split: tuple[TextIndex, list[TextIndex], Path],
) -> None:
    """Shards that know only themselves differ by several percent, so the claim above says much."""
    whole, parts, _ = split
    expected = scores(whole, "w5 w9")
    differences = [
        abs(score / expected[one] - 1)
        for part in parts
        for one, score in scores(part, "w5 w9").items()
    ]
    assert max(differences) > 0.03


def test_deleted_documents_that_one_replica_still_counts_change_no_score(tmp_path: Path) -> None:
    """A replica that has not merged yet counts what is gone, and scores as the other does."""
    documents = corpus(60, seed=7)
    clean = index_of(tmp_path / "clean", documents)
    index_of(tmp_path / "dusty", documents)
    writer = TextIndexWriter.open(tmp_path / "dusty", COLLECTION)
    writer.apply((), [(one["id"], one) for one in documents[:20]])
    writer.commit()
    dusty = TextIndex.open(tmp_path / "dusty")
    assert dusty.num_counted > clean.num_counted == 60
    assert dusty.document_frequency("title", "w0") > clean.document_frequency("title", "w0")
    write_table(tmp_path / "table", collect(clean))
    table = TermStatistics.open(tmp_path / "table")
    balance(writer, table.average_lengths)
    writer.close()
    for query in ("w0", "w1 w9", '"w0 w1"'):
        expected = scores(clean, query, table)
        found = scores(TextIndex.open(tmp_path / "dusty"), query, table)
        assert found == pytest.approx(expected, rel=1e-3)
    table.close()


def test_a_term_that_the_table_lacks_counts_as_the_shard_knows_it(tmp_path: Path) -> None:
    """What was added since the statistics were summed is found, and scored as a rare word."""
    index = index_of(tmp_path / "i", [*corpus(30, seed=3), {"id": "new", "title": "novel"}])
    other = index_of(tmp_path / "j", corpus(30, seed=4))
    write_table(tmp_path / "table", collect(other))
    table = TermStatistics.open(tmp_path / "table")
    (score,) = scores(index, "novel", table).values()
    table.close()
    assert score > 0


def test_a_field_that_the_table_lacks_scores_by_the_shard_alone(tmp_path: Path) -> None:
    """A frequency in one shard is not compared with the number of documents in all."""
    index = index_of(tmp_path / "i", corpus(30, seed=3))
    write_table(tmp_path / "table", Statistics(3000, {"other": FieldStatistics(9, {"w0": 9})}))
    table = TermStatistics.open(tmp_path / "table")
    expected = scores(index, "title:w0")
    assert scores(index, "title:w0", table) == pytest.approx(expected)
    table.close()


def test_queries_are_read_as_tantivy_reads_them(
    split: tuple[TextIndex, list[TextIndex], Path],
) -> None:
    """Without statistics the builder's matches and scores are those of tantivy's own parser.

    But for two things that it does differently on purpose: words that are repeated, and words that
    analysis splits.
    """
    whole = split[0]
    for query in QUERIES:
        if query not in ("w1 w1 w2", "w1-w2"):
            native = whole._index.parse_query(query, ["_text"])
            hits = whole.searcher.search(native, 1000).hits
            ids = whole.ids([address for _, address in hits])
            expected = dict(zip(ids, (score for score, _ in hits), strict=True))
            assert scores(whole, query) == pytest.approx(expected, rel=1e-4), query


def test_a_word_that_is_split_is_a_list_of_words_unless_it_is_demanded(tmp_path: Path) -> None:
    """Any part of "high-speed" matches; with a sign, all parts must be there, in any order."""
    shard = OneShard.of(
        tmp_path,
        {"t": "text"},
        [{"id": "1", "t": "high speed"}, {"id": "2", "t": "speed"}, {"id": "3", "t": "train"}],
    )
    assert shard.search("high-speed").ids == ["1", "2"]
    assert shard.search("train +speed-high").ids == ["1"]
    assert sorted(shard.search("train speed -speed-high").ids) == ["2", "3"]
    assert shard.search("+speed-high").ids == shard.search("*", filter_text="+speed-high").ids
    assert shard.search("+speed-high").ids == ["1"]


def test_a_filter_narrows_and_does_not_score(tmp_path: Path) -> None:
    """The scores of what is left are the same as without the filter, even if it has words."""
    documents = corpus(40, seed=5)
    shard = OneShard.of(tmp_path, {"title": "text", "body": "text", "year": "integer"}, documents)
    free = shard.search("w1 w2", k=100)
    kept = shard.search("w1 w2", k=100, filter_text="year:>=5 AND body:w0")
    scored = dict(zip(free.ids, free.scores, strict=True))
    wanted = [
        one["id"]
        for one in documents
        if one["id"] in scored and one["year"] >= 5 and "w0" in one["body"].split()
    ]
    assert sorted(kept.ids) == sorted(wanted)
    assert kept.scores == [scored[one] for one in kept.ids]
    assert kept.total == len(wanted)


@pytest.mark.parametrize("zero", ["0", "0.0", "-0", "-0.0"])
def test_both_zeros_are_one_number(tmp_path: Path, zero: str) -> None:
    """A filter finds 0 and -0.0 alike, however it is written: they are equal."""
    values = [-1.0, -0.0, 0, 0.0, 1.0]
    rows = [{"id": str(place), "price": value} for place, value in enumerate(values)]
    shard = OneShard.of(tmp_path, {"price": "float"}, rows)
    compared = {
        "": operator.eq,
        ">=": operator.ge,
        ">": operator.gt,
        "<=": operator.le,
        "<": operator.lt,
    }
    for sign, holds in compared.items():
        wanted = [str(place) for place, value in enumerate(values) if holds(value, float(zero))]
        assert shard.search(f"price:{sign}{zero}").ids == wanted, sign
    assert shard.search(f"price:IN [{zero} 1]").ids == ["1", "2", "3", "4"]


@pytest.mark.parametrize("day", ["1969-12-31", "2024-05-17"])
def test_a_date_is_found_by_the_value_that_it_was_given_with(tmp_path: Path, day: str) -> None:
    """It belongs to the second that it is in, also before 1970."""
    shard = OneShard.of(
        tmp_path,
        {"at": "date"},
        [{"id": str(place), "at": f"{day}T23:59:5{place}.999Z"} for place in (8, 9)],
    )
    assert shard.search(f"at:{day}T23:59:59.999Z").ids == ["9"]
    assert shard.search(f"at:{day}T23:59:58Z").ids == ["8"]
    assert shard.search(f"at:{day}").ids == ["8", "9"]


def test_what_is_no_text_adds_one_times_its_boost(tmp_path: Path) -> None:
    """Values, ranges and beginnings score the same on every shard: a constant."""
    shard = OneShard.of(
        tmp_path,
        {"tag": "keyword", "year": "integer", "t": "text"},
        [{"id": "1", "tag": "a", "year": 1, "t": "word"}, {"id": "2", "tag": "a", "year": 5}],
    )
    assert shard.search("tag:a year:>3").scores == [2.0, 1.0]
    assert shard.search("tag:a^3 year:5^0.5").scores == [3.5, 3.0]
    assert shard.search("wo*").scores == shard.search("wird~1").scores == [1.0]


def test_without_text_fields_words_find_nothing_and_values_still_do(tmp_path: Path) -> None:
    """A collection of keywords and numbers is searched by them alone."""
    shard = OneShard.of(tmp_path, {"tag": "keyword"}, [{"id": "1", "tag": "a"}])
    assert shard.search("a").ids == []
    assert shard.search('"a b" c* d~1').ids == []
    assert shard.search("tag:a").ids == ["1"]
    assert shard.search("a tag:a").ids == ["1"]
    assert shard.search("*", filter_text="tag:b").ids == []


def test_stop_words_are_as_if_not_written(tmp_path: Path) -> None:
    """Nothing but stop words finds nothing; demanded among other words they demand nothing."""
    shard = OneShard.of(tmp_path, {"t": "text"}, [{"id": "1", "t": "state of the art"}])
    assert shard.search("the of").ids == []
    assert shard.search("+the +art").ids == ["1"]
    assert shard.search('"state of the art"').ids == ["1"]
    assert shard.search('"state art"').ids == []
    assert shard.search("art -the").ids == ["1"]


def test_fuzzy_words_and_beginnings_work_on_texts_and_keywords(tmp_path: Path) -> None:
    """An edit is an insertion, a deletion, a substitution or two neighbours changing places."""
    shard = OneShard.of(
        tmp_path,
        {"name": "text", "tag": "keyword"},
        [{"id": "1", "name": "John Smith", "tag": "New York"}, {"id": "2", "name": "Jane Doe"}],
    )
    for query in ("smyth~1", "smih~1", "smtih~1", "name:smiiith~2", "smi*", 'name:"john smi"*'):
        assert shard.search(query).ids == ["1"], query
    assert shard.search("smyht~1").ids == []
    assert shard.search('tag:"New"*').ids == shard.search("tag:New*").ids == ["1"]
    assert shard.search("tag:new*").ids == []


def test_padding_is_found_by_no_query(split: tuple[TextIndex, list[TextIndex], Path]) -> None:
    """Padding documents match nothing, and are not counted."""
    whole, parts, _ = split
    assert sum(part.num_padding for part in parts) > 0
    assert sum(part.num_documents for part in parts) == whole.num_documents
    for query in ("*", "-w1", "NOT title:*", "********3", "a~2", "a*", "**"):
        tree = parse(query, COLLECTION, strict=False)[0]
        found = [retrieve(part, QueryBuilder(part, None).build(tree), 1000) for part in parts]
        alone = retrieve(whole, QueryBuilder(whole, None).build(tree), 1000)
        assert sum(one.total for one in found) == alone.total, query


def test_bm25_counts_documents_as_the_index_says(
    split: tuple[TextIndex, list[TextIndex], Path],
) -> None:
    """The explanation of a score names the document counts that the weights are built on."""
    part = split[1][0]
    query = QueryBuilder(part, None).build(parse("w1", COLLECTION, strict=False)[0])
    address = part.searcher.search(query, 1).hits[0][1]
    explained = json.dumps(json.loads(query.explain(part.searcher, address).to_json()))
    assert f'"value": {part.max_doc:.1f}, "description": "N, total number of docs"' in explained
    frequency = part.document_frequency(
        "_text", analyser_of(COLLECTION.word_analysis).analyze("w1")[0]
    )
    assert f'"value": {frequency:.1f}, "description": "n, number of docs' in explained
