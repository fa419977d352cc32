"""Padding brings an index to the collection's average lengths, with few documents."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.shard_worker.storage.length_padding import balance, padding_words, plan_padding
from hedgerow.shard_worker.storage.term_statistics import collect
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from tests.unit.support.shards import OneShard


@settings(deadline=None)
@given(
    documents=st.integers(50, 10**6),
    averages=st.lists(st.floats(1.0, 5000.0), min_size=1, max_size=3),
    off=st.lists(st.floats(0.8, 1.25), min_size=3, max_size=3),
)
def test_any_averages_within_a_quarter_are_met(
    documents: int, averages: list[float], off: list[float]
) -> None:
    """With the padding each field's words are what the wanted average says, to half a word."""
    wanted = {str(number): average for number, average in enumerate(averages)}
    words = {name: round(documents * average * off[int(name)]) for name, average in wanted.items()}
    padding = plan_padding(words, wanted, documents)
    exact = all(abs(wanted[name] * documents - words[name]) <= 1e-3 for name in wanted)
    assert bool(padding) is not exact
    for name, average in wanted.items():
        total = words[name] + sum(one.get(name, 0) for one in padding)
        # Words come whole, so half a word is the best that can be done for sure.
        assert abs(total - average * (documents + len(padding))) <= 0.5
    for one in padding:
        for size in one.values():
            assert size & (size - 1) == 0, "a size is a power of two"
            assert size <= 16 * max(averages)


def test_an_index_that_is_right_needs_none() -> None:
    """The averages are met, there is nothing in it, or nothing is known of its fields."""
    assert plan_padding({"t": 300}, {"t": 3.0}, 100) == []
    assert plan_padding({"t": 0}, {"t": 3.0}, 0) == []
    assert plan_padding({"t": 300}, {}, 100) == []
    assert plan_padding({"t": 300}, {"t": 0.0}, 100) == []


def test_an_index_that_is_far_off_is_left_alone() -> None:
    """It would take more documents than there are."""
    assert plan_padding({"t": 100_000}, {"t": 3.0}, 1000) == []


def test_an_index_that_has_been_balanced_may_be_half_a_word_off() -> None:
    """Words come whole; an index without padding is worth padding for half a word of a few."""
    assert plan_padding({"t": 8}, {"t": 7.6}, 1, tolerance=0.5) == []
    padding = plan_padding({"t": 8}, {"t": 7.6}, 1)
    total = 8 + sum(one.get("t", 0) for one in padding)
    assert total / (1 + len(padding)) == pytest.approx(7.6, rel=1e-3)


def test_padding_follows_the_averages_and_does_not_pile_up(tmp_path: Path) -> None:
    """New averages replace the old padding; what is collected never counts it."""
    documents = [{"id": str(n), "t": "word " * (n % 7 + 1)} for n in range(200)]
    shard = OneShard.of(tmp_path, {"t": "text", "u": "text"}, documents)
    collected = collect(shard.open())
    for average in (4.2, 3.9, 4.2, 3.9, 4.0):
        writer = TextIndexWriter.open(shard.folder / "u1", shard.collection)
        balance(writer, {"t": average, "_text": average, "u": 0.0})
        generation = writer.generation
        balance(writer, {"t": average, "_text": average, "u": 0.0})
        assert writer.generation == generation, "what is balanced is left alone"
        writer.close()
        index = shard.open()
        assert index.average_length("t", ["word"]) == pytest.approx(average, rel=1e-4)
        assert index.average_length("_text", ["word"]) == pytest.approx(average, rel=1e-4)
        assert index.num_documents == 200
        assert index.num_padding < 100
        assert index.max_doc < 400
        assert padding_words(index, "t") < 400
        assert collect(index) == collected


def test_padding_that_is_merged_and_deleted_is_still_counted_right(tmp_path: Path) -> None:
    """Whether its documents live in segments of their own or not, the sum of words is exact."""
    shard = OneShard.of(tmp_path, {"t": "text"}, [{"id": str(n), "t": "x y z"} for n in range(60)])
    for turn in range(12):  # many commits, so that tantivy merges in between
        writer = TextIndexWriter.open(shard.folder / "u1", shard.collection)
        writer.apply([], [(f"{turn}-{n}", {"t": "v w"}) for n in range(5)])
        writer.commit()
        balance(writer, {"t": 2.5 + turn / 20})
        writer.close()
    index = shard.open()
    words = 60 * 3 + 12 * 5 * 2
    assert collect(index).fields["t"].words == words
    assert index.total_words("t") == words + padding_words(index, "t")
