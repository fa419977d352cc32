"""Statistics are those of the documents, survive the way over Redis, and are noticed when new."""

import os
import re
import sqlite3
import zlib
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.errors import WireError
from hedgerow.shard_worker.storage import term_statistics
from hedgerow.shard_worker.storage.term_statistics import (
    FieldStatistics,
    Statistics,
    StatisticsFile,
    TermStatistics,
    collect,
    merge,
    pack,
    unpack,
    write_table,
)
from tests.unit.support.shards import OneShard

DOCUMENTS: list[dict[str, Any]] = [
    {"id": "1", "title": "red lamp", "body": "a red lamp and a lamp"},
    {"id": "2", "title": "blue lamp"},
    {"id": "3", "body": ["green desk", "red"]},
    {"id": "4"},
]


def test_what_is_collected_is_what_counting_the_words_gives(tmp_path: Path) -> None:
    """Document frequencies and numbers of words are those of the texts, by field and together."""
    fields = {"title": "text", "body": "text"}
    statistics = collect(OneShard.of(tmp_path, fields, DOCUMENTS, language="none").open())
    assert statistics.documents == len(DOCUMENTS)
    assert statistics.fields.keys() == {"title", "body", "_text"}
    for name, one in statistics.fields.items():
        sources = ["title", "body"] if name == "_text" else [name]
        bags = [
            Counter(re.findall(r"\w+", " ".join(str(document.get(part, "")) for part in sources)))
            for document in DOCUMENTS
        ]
        assert one.words == sum(bag.total() for bag in bags)
        assert one.frequencies == Counter(word for bag in bags for word in bag)


def test_a_replaced_document_counts_until_it_is_merged_away(tmp_path: Path) -> None:
    """Documents and frequencies agree with each other, as BM25 needs: never a term in more."""
    shard = OneShard.of(tmp_path, {"t": "text"}, [{"id": "1", "t": "word"}, {"id": "2"}])
    shard.put([{"id": "1", "t": "word"}], deletes=["2"])
    statistics = collect(shard.open())
    assert statistics.fields["t"].frequencies["word"] <= statistics.documents


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
frequencies = st.dictionaries(words, st.integers(1, 10**9), max_size=6)
parts = st.builds(
    Statistics,
    st.integers(0, 10**9),
    st.dictionaries(
        st.sampled_from(["a", "b"]), st.builds(FieldStatistics, st.integers(0, 2**50), frequencies)
    ),
)


@settings(deadline=None)
@given(parts)
def test_what_is_packed_is_what_is_unpacked(statistics: Statistics) -> None:
    """Any statistics survive the way over Redis, words of any script included."""
    assert unpack(pack(statistics)) == statistics


@settings(deadline=None)
@given(st.lists(parts, max_size=5))
def test_a_merge_adds_up(many: list[Statistics]) -> None:
    """Each number is the sum of the parts', in whatever order they come.

    Parts that have a field stand for those that lack it, by their numbers of documents.
    """
    merged = merge(many)
    assert merged.documents == sum(one.documents for one in many)
    for name in {name for one in many for name in one.fields}:
        having = [one for one in many if name in one.fields]
        share = sum(one.documents for one in having) / (merged.documents or 1) or 1
        total: Counter[str] = Counter()
        for one in having:
            total.update(one.fields[name].frequencies)
        expected = {term: round(count / share) for term, count in total.items()}
        assert merged.fields[name].frequencies == expected
    assert merge(reversed(many)) == merged


def test_a_field_that_half_of_the_documents_have_counts_as_if_all_had_it() -> None:
    """Its words would otherwise look rare in a collection of twice as many documents."""
    has = Statistics(
        50, {"t": FieldStatistics(90, {"a": 20}), "new": FieldStatistics(60, {"b": 7})}
    )
    lacks = Statistics(50, {"t": FieldStatistics(110, {"a": 30})})
    merged = merge([has, lacks])
    assert merged.fields["t"] == FieldStatistics(200, {"a": 50})
    assert merged.fields["new"] == FieldStatistics(120, {"b": 14})


def test_past_the_limit_the_frequent_words_are_kept() -> None:
    """Rare words are dropped first, and among equals the later in the alphabet."""
    statistics = Statistics(9, {"t": FieldStatistics(20, {"b": 3, "a": 3, "rare": 1, "top": 9})})
    assert merge([statistics], max_terms=2).fields["t"].frequencies == {"top": 9, "a": 3}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        zlib.compress(b"\xc1"),
        zlib.compress(msgpack.packb([1, 2])),
        zlib.compress(msgpack.packb([99, 0, {}])),
        zlib.compress(msgpack.packb([1, 0, {"t": [1, ["a", "b"], [1]]}])),
        zlib.compress(msgpack.packb([1, "many", {}])),
        zlib.compress(msgpack.packb(7)),
    ],
)
def test_malformed_statistics_are_a_wire_error(data: bytes) -> None:
    """Foreign data in Redis does no harm."""
    with pytest.raises(WireError):
        unpack(data)


def test_a_table_answers_what_was_written(tmp_path: Path) -> None:
    """By field and term; what is not there is None, also when asked again."""
    path = tmp_path / "new" / "u.sqlite"
    write_table(
        path, Statistics(8, {"t": FieldStatistics(20, {"é": 3}), "u": FieldStatistics(0, {})})
    )
    table = TermStatistics.open(path)
    for _ in range(2):
        assert table.document_frequency("t", "é") == 3
        assert table.document_frequency("u", "é") is None
        assert table.document_frequency("t", "e") is None
    assert table.documents == 8
    assert table.average_lengths == {"t": 2.5, "u": 0.0}
    table.close()
    assert [one.name for one in path.parent.iterdir()] == ["u.sqlite"]


def test_a_replaced_table_is_noticed_and_an_unchanged_one_kept(tmp_path: Path) -> None:
    """A scorer sees the new statistics at its next query, and opens nothing in between."""
    path = tmp_path / "u.sqlite"
    file = StatisticsFile(path)
    assert file.current(0.0) is None
    write_table(path, Statistics(1))
    first = file.current(0.0)
    assert first is not None
    assert first.documents == 1
    assert file.current(0.0) is first
    assert file.current(9.0) is first
    write_table(path, Statistics(2))
    second = file.current(9.0)
    assert second is not None
    assert second.documents == 2
    path.write_bytes(b"damaged")
    assert file.current(20.0) is second
    path.unlink()
    assert file.current(30.0) is second
    file.close()


def test_a_table_whose_writer_died_before_it_marked_the_old_one_is_noticed(tmp_path: Path) -> None:
    """A table that took the place of another without a mark is found within a second."""
    path, other = tmp_path / "u.sqlite", tmp_path / "other.sqlite"
    write_table(path, Statistics(1))
    write_table(other, Statistics(2))
    file = StatisticsFile(path)
    first = file.current(0.0)
    other.replace(path)
    assert file.current(0.9) is first
    second = file.current(1.1)
    assert second is not None
    assert second.documents == 2
    file.close()


def test_most_searches_do_not_look_for_new_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system is asked once a second, however many searches there are."""
    path = tmp_path / "u.sqlite"
    write_table(path, Statistics(1))
    file, stat = StatisticsFile(path), Mock(wraps=os.stat)
    monkeypatch.setattr(os, "stat", stat)
    for number in range(250):
        file.current(number / 100)
    assert sum(call.args == (str(path),) for call in stat.call_args_list) == 3
    file.close()


def test_a_table_that_cannot_be_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again every second or so, which would fill a disk; the table of before stays."""
    table, empty = tmp_path / "u.sqlite", Statistics(0, {})
    write_table(table, empty)

    def fail(path: Path, _statistics: Statistics) -> None:
        path.write_bytes(b"half of it")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(term_statistics, "_write_tables", fail)
    with pytest.raises(OSError, match=f"{table}: database or disk is full"):
        write_table(table, empty)
    assert list(tmp_path.iterdir()) == [table]
