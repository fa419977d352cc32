"""The merge against sorting everything."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import WireError
from gateway.merge import check_part, merge

Part = tuple[int, list[str], list[float]]

# Few distinct values, so that ties, also at the cut, are the rule.
scores = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.5, -3.25]),
    st.floats(allow_nan=False),
)
ids = st.one_of(st.integers(0, 30).map(str), st.text("ab\u00e9\U0001f600", max_size=3))
hits = st.lists(st.tuples(ids, scores), max_size=12)


@st.composite
def parts_of_shards(
    draw: st.DrawFn, hits: st.SearchStrategy[list[tuple[str, float]]]
) -> list[Part]:
    """Parts in any order of shards, sorted as the wire format says or not at all."""
    shards = draw(st.lists(st.integers(0, 63), unique=True, max_size=8))
    parts = []
    for shard in shards:
        rows = draw(hits)
        if draw(st.booleans()):
            rows.sort(key=lambda row: (-row[1], row[0]))
        parts.append((shard, [row[0] for row in rows], [row[1] for row in rows]))
    return parts


def brute_force(parts: list[Part], k: int) -> list[tuple[float, str, int]]:
    """All hits as (-score, id, shard), in order, cut at k."""
    rows = [
        (-score, document_id, shard)
        for shard, its_ids, its_scores in parts
        for document_id, score in zip(its_ids, its_scores, strict=True)
    ]
    return sorted(rows)[:k]


@given(parts_of_shards(hits), st.integers(1, 120))
@example([], 10)
@example([(0, [], [])], 10)
def test_equals_sorting_everything(parts: list[Part], k: int) -> None:
    """The merge is what sorting all hits by (-score, id, shard) gives, for any parts and k."""
    found = [(-hit.score, hit.id, hit.shard) for hit in merge(parts, k)]
    assert found == brute_force(parts, k)


@given(parts_of_shards(hits), st.integers(1, 20), st.randoms())
def test_order_of_arrival_does_not_matter(parts: list[Part], k: int, random: object) -> None:
    """The same parts in another order of arrival give the same answer."""
    shuffled = parts.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' own Random
    assert merge(parts, k) == merge(shuffled, k)


@given(
    parts_of_shards(st.lists(st.tuples(ids, st.sampled_from([math.nan, 1.0, 2.0, math.inf])))),
    st.integers(1, 40),
)
def test_scores_that_are_no_number_rank_last(parts: list[Part], k: int) -> None:
    """A NaN takes its hit to the end and leaves the order of all others alone."""
    cleaned = [
        (shard, its_ids, [-math.inf if math.isnan(score) else score for score in its_scores])
        for shard, its_ids, its_scores in parts
    ]
    found = [(-hit.score, hit.id, hit.shard) for hit in merge(parts, k)]
    assert found == brute_force(cleaned, k)


def test_largest_fan_out() -> None:
    """64 shards of 1,000 hits, the largest there can be, are merged right."""
    parts: list[Part] = [
        (
            shard,
            [f"{number * 7919 % 1000}-{shard}" for number in range(1000)],
            [(number * 31 + shard * 17) % 997 / 10 for number in range(1000)],
        )
        for shard in range(64)
    ]
    found = [(-hit.score, hit.id, hit.shard) for hit in merge(parts, 1000)]
    assert found == brute_force(parts, 1000)


def test_merge_leaves_its_parts_alone() -> None:
    """The parts are not changed, and fresh hits have no fields."""
    parts: list[Part] = [(1, ["b", "a"], [1.0, 2.0]), (0, ["c"], [1.5])]
    hits = merge(parts, 3)
    assert parts == [(1, ["b", "a"], [1.0, 2.0]), (0, ["c"], [1.5])]
    assert [hit.fields for hit in hits] == [None] * 3


@given(st.lists(st.tuples(st.text(), st.floats(allow_nan=False, allow_infinity=False))))
@example([("a", 1.7e308), ("b", 1.7e308)])
def test_sound_parts_pass(rows: list[tuple[str, float]]) -> None:
    """A part of string ids and finite scores is not refused, even if their sum overflows."""
    check_part([row[0] for row in rows], [row[1] for row in rows])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, "7", None, b"7", [1.0], 10**400])
def test_unsound_scores_are_refused(bad: object) -> None:
    """One score that is not a finite number makes the whole part a wire error."""
    with pytest.raises(WireError, match="score"):
        check_part(["a", "b", "c"], [1.0, bad, 2.0])  # type: ignore[list-item]  # as off the wire


@pytest.mark.parametrize("bad", [7, None, b"7", ["a"]])
def test_unsound_ids_are_refused(bad: object) -> None:
    """One id that is not a string makes the whole part a wire error."""
    with pytest.raises(WireError, match="id"):
        check_part(["a", bad], [1.0, 2.0])  # type: ignore[list-item]  # as off the wire
