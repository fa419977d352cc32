"""How fast shards are restored, with a clock that only sleeping moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.settings.placement import PlacementSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.shard_worker.snapshots.restore_pace import LONGEST_SLEEP_S, RestorePace


class Clock:
    """A clock that moves when someone sleeps.

    Attributes:
        now: the time, in s.
        longest_s: the longest sleep, in s.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.longest_s = 0.0

    def sleep(self, for_s: float) -> None:
        """Let time pass."""
        self.longest_s = max(self.longest_s, for_s)
        self.now += for_s

    def pace(self, rate: float) -> RestorePace:
        """A pace by this clock."""
        return RestorePace(rate, lambda: self.now, self.sleep)


@given(
    rate=st.integers(1, 10**9),
    pieces=st.lists(st.integers(1, 1 << 20), min_size=1, max_size=30),  # an empty one never waits
)
def test_no_more_than_the_rate_and_a_seconds_worth(rate: int, pieces: list[int]) -> None:
    """Whatever the pieces are, in no span of time are more bytes restored than the rate allows."""
    # So that the clock need not go on for days.
    pieces = [min(piece, 20 * rate) for piece in pieces]
    clock = Clock()
    pace, began = clock.pace(rate), clock.now
    num_bytes = 0
    for piece in pieces:
        # A piece of more than a second's worth is let through when the bucket is full.
        assert num_bytes <= rate * (clock.now - began + 1) + (1 << 20)
        pace.wait(piece, lambda: None)
        num_bytes += piece
    assert num_bytes - pieces[-1] <= rate * (clock.now - began + 1) + 1
    assert clock.now - began <= max(0, num_bytes - rate) / rate + 0.002 * len(pieces)


def test_two_restores_share_the_rate() -> None:
    """Ten seconds' worth, in pieces of two shards by turns, takes nine seconds after the first."""
    clock = Clock()
    pace = clock.pace(1000)
    for _ in range(50):
        pace.wait(100, lambda: None)
        pace.wait(100, lambda: None)
    assert clock.now == pytest.approx(109.0, abs=0.1)


def test_a_wait_ends_when_the_restore_is_stopped() -> None:
    """While it waits, it asks at least every 0.1 s whether to go on."""
    clock = Clock()
    pace = clock.pace(10)

    def check() -> None:
        if clock.now > 105.0:
            raise InterruptedError

    pace.wait(10, check)
    pace.wait(1000, check)  # owes 99 s
    with pytest.raises(InterruptedError):
        pace.wait(10, check)
    assert clock.now <= 105.0 + 2 * LONGEST_SLEEP_S
    assert clock.longest_s <= LONGEST_SLEEP_S


@pytest.mark.parametrize(
    ("joins", "rate", "is_bounded"), [(True, 5, True), (True, 0, False), (False, 5, False)]
)
def test_only_workers_that_join_are_bounded(joins: bool, rate: int, is_bounded: bool) -> None:
    """A pinned worker restores before it serves anything, so nothing has to give way to queries."""
    settings = Settings(
        worker=WorkerSettings(join=joins),
        placement=PlacementSettings(max_restore_bytes_per_s=rate),
    )
    assert (RestorePace.of(settings) is not None) is is_bounded
