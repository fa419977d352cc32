"""The checkers of coverage and outcomes, over histories that are made up."""

from typing import Any

import pytest

from hedgerow.common.partition import shard_of
from nemesis.checkers.coverage import check_coverage, check_outcomes
from nemesis.history import Hit, Search, SplitBegan
from nemesis.layout import NUM_SHARDS, group_members
from tests.unit.nemesis.made_up import group_search, search

DOWN = 2
OF_DOWN = tuple(
    Hit(one, 1) for one in sorted(group_members(7)) if shard_of(one, NUM_SHARDS) == DOWN
)

SOME_SKIPPED = tuple((shard, "skipped" if shard == DOWN else "ok") for shard in range(NUM_SHARDS))


def test_honest_answers_are_no_violation() -> None:
    """An answer over all shards, over some, over none, and one that was refused."""
    events = [
        group_search(1),
        group_search(2, down=DOWN),
        group_search(3, covered=0, fraction=0.0),
        search(4),
        group_search(6, outcomes=SOME_SKIPPED, counts={"ok": 3, "skipped": 1, "total": 4}),
        search(5, status=503, outcomes=None, counts={}),
    ]
    assert OF_DOWN
    assert check_coverage(events) == []
    assert check_outcomes(events) == []


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (group_search(1, hits=group_search(1).hits[1:]), "missing although their shards are ok"),
        (group_search(1, down=DOWN, hits=group_search(1).hits), "of shards that are not ok"),
        (group_search(1, hits=(*group_search(1).hits, Hit("s8x1", 1))), "not ok or never"),
        (
            group_search(1, outcomes=SOME_SKIPPED, hits=group_search(1, down=DOWN).hits),
            "missing although their shards are ok",
        ),
        (group_search(1, down=DOWN, is_full=True), "is_full is True with 3 of 4"),
        (group_search(1, down=DOWN, covered=400), "400 documents covered"),
        (group_search(1, down=DOWN, fraction=0.99), "coverage 0.99, although"),
        (search(1, outcomes=((0, "ok"), (1, "failed"))), "is_full is True with 1 of 2"),
    ],
)
def test_a_claim_beyond_what_was_searched_is_a_violation(event: Search, text: str) -> None:
    """Each kind of false claim is found and named."""
    (violation,) = check_coverage([event])
    assert text in violation.text


def test_answers_are_over_the_old_or_the_new_shards_of_a_split() -> None:
    """Both are honest, as soon as a split may have begun, and judged by their own shards."""
    split = SplitBegan(at=2, num_shards=2 * NUM_SHARDS)
    events: list[Any] = [
        group_search(1),
        split,
        group_search(3),
        group_search(4, num_shards=2 * NUM_SHARDS),
        group_search(5, down=DOWN, num_shards=2 * NUM_SHARDS),
    ]
    assert check_coverage(events) == []
    assert check_outcomes(events) == []


@pytest.mark.parametrize(
    ("at", "num_shards", "text"),
    [
        (1, 2 * NUM_SHARDS, "in an answer of 4 shards"),
        (3, 3 * NUM_SHARDS, "in an answer of 4 or 8 shards"),
    ],
)
def test_another_number_of_shards_is_a_violation(at: float, num_shards: int, text: str) -> None:
    """Twice the shards before any split, or a number that no split leads to."""
    events: list[Any] = [
        group_search(at, num_shards=num_shards),
        SplitBegan(at=2, num_shards=2 * NUM_SHARDS),
    ]
    events.sort(key=lambda event: event.at)
    (violation,) = check_outcomes(events)
    assert text in violation.text


OK = tuple((shard, "ok") for shard in range(NUM_SHARDS))


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"outcomes": OK[:3], "counts": {"ok": 3, "total": 3}}, "shards [0, 1, 2]"),
        (
            {"outcomes": (*OK, (3, "failed")), "counts": {"ok": 4, "failed": 1, "total": 5}},
            "shards [0, 1, 2, 3, 3]",
        ),
        ({"counts": {"ok": 3, "timed_out": 1, "total": 4}}, "the counts are"),
        ({"counts": {"ok": 4, "total": 5}}, "the counts are"),
    ],
)
def test_a_shard_without_exactly_one_outcome_is_a_violation(
    members: dict[str, Any], text: str
) -> None:
    """A missing, second or miscounted outcome is found."""
    (violation,) = check_outcomes([search(1, **members)])
    assert text in violation.text
