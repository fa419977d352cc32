"""Replicas that a log no longer waits for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.indexing.absent_replicas import AbsentReplicas


@pytest.mark.parametrize(
    ("snapshot", "expected"), [("0-0", []), ("5-0", []), ("5-1", ["gone"]), ("9-0", ["gone"])]
)
def test_who_is_waited_for(snapshot: str, expected: list[str]) -> None:
    """A replica that is away for long is dropped only if the snapshot has more than it had."""
    absent = AbsentReplicas(10.0)
    applied = {"gone": "5-0", "here": "1-0"}
    assert absent.forgettable(applied, {"here"}, snapshot, 100.0) == []
    assert absent.forgettable(applied, {"here"}, snapshot, 109.9) == []
    assert absent.forgettable(applied, {"here"}, snapshot, 110.0) == expected


@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 9.0)), max_size=30))
def test_whoever_comes_back_counts_anew(steps: list[tuple[bool, float]]) -> None:
    """A replica goes exactly when it has been away for long without a break."""
    absent = AbsentReplicas(10.0)
    now, away_since = 0.0, None
    for is_live, pause_s in steps:
        now += pause_s
        away_since = None if is_live else now if away_since is None else away_since
        gone = absent.forgettable({"r": "1-0"}, {"r"} if is_live else (), "2-0", now)
        assert gone == (["r"] if away_since is not None and now - away_since >= 10.0 else [])
