"""When an index that could not be optimised is tried again."""

from hypothesis import given
from hypothesis import strategies as st

from common.optimising_board import Optimising
from shard_worker.optimiser import FIRST_PAUSE_S, MOST_PAUSE_S, Attempts


@given(st.integers(1, 40), st.integers(0, 10**6))
def test_each_failure_waits_for_longer_and_none_for_ever(failures: int, started: int) -> None:
    """So that a collection which is always written to costs ever less, and is not given up."""
    attempts, pauses, now = Attempts(), [], float(started)
    for _ in range(failures):
        attempts = attempts.after_failure(now)
        pauses.append(attempts.next_at - now)
        now = attempts.next_at
    assert attempts.num_failed == failures
    assert pauses == sorted(pauses)
    assert pauses[0] == FIRST_PAUSE_S
    assert pauses[-1] == min(MOST_PAUSE_S, FIRST_PAUSE_S * 2 ** (failures - 1))


def test_a_replica_waits_until_it_has_done_what_was_last_asked() -> None:
    """One that has done it for an earlier time of asking is to do it again; unasked, nobody is."""
    standing = Optimising(1000, {"done": 1000, "before": 900})
    assert [standing.is_waiting(one) for one in ("done", "before", "new")] == [False, True, True]
    assert not Optimising().is_waiting("any")
