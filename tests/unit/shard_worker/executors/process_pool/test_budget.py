"""Budgets in shared memory: which side decides over which task, and at what cost."""

import math
import os
import time
import timeit
from collections.abc import Iterator

import pytest

from hedgerow.shard_worker.executors.process_pool.budget import (
    Budget,
    Region,
    SharedBudgets,
    open_shared_file,
)

MAX_BATCH = 4


@pytest.fixture
def two_maps() -> Iterator[tuple[SharedBudgets, SharedBudgets]]:
    """The same file mapped twice, as worker and scorer do."""
    fd = open_shared_file(SharedBudgets.size(3, MAX_BATCH))
    ours, theirs = (SharedBudgets(fd, 3, MAX_BATCH) for _ in range(2))
    os.close(fd)
    yield ours, theirs
    ours.close()
    theirs.close()


def _budget(region: Region, slot: int, generation: int) -> Budget:
    return Budget(region.generations, region.expiries, region.lates, slot, generation)


def test_what_one_side_writes_the_other_reads(
    two_maps: tuple[SharedBudgets, SharedBudgets],
) -> None:
    """Every word of every region is shared, and none overlaps another."""
    ours, theirs = two_maps
    value = 1
    for region in ours.regions:
        region.current[0] = value
        region.began[0], region.began[1] = value + 0.75, value + 0.875
        region.pid[0] = value + 90
        for slot in range(MAX_BATCH):
            region.generations[slot] = value + 1 + slot
            region.expiries[slot] = value + 0.5 + slot
            region.lates[slot] = value + 0.25 + slot
        value += 100
    value = 1
    for region in theirs.regions:
        assert region.current[0] == value
        assert list(region.began) == [value + 0.75, value + 0.875]
        assert region.pid[0] == value + 90
        assert list(region.generations) == [value + 1 + slot for slot in range(MAX_BATCH)]
        assert list(region.expiries) == [value + 0.5 + slot for slot in range(MAX_BATCH)]
        assert list(region.lates) == [value + 0.25 + slot for slot in range(MAX_BATCH)]
        value += 100


def test_it_expires_at_its_deadline_or_when_tripped(
    two_maps: tuple[SharedBudgets, SharedBudgets],
) -> None:
    """A deadline ahead, one behind, none at all, and one that the other side pulls in."""
    ours, theirs = (one.regions[1] for one in two_maps)
    now = time.monotonic()
    ours.generations[0], ours.expiries[0] = 7, now + 60
    ours.generations[1], ours.expiries[1] = 8, now - 1
    ours.generations[2], ours.expiries[2] = 9, math.inf
    ahead, behind, endless = (_budget(theirs, slot, 7 + slot) for slot in range(3))
    assert not ahead.expired()
    assert 59 < ahead.remaining_s() <= 60
    assert behind.expired()
    assert behind.remaining_s() == 0.0
    assert not endless.expired()
    assert endless.remaining_s() == math.inf
    ours.expiries[0] = 0.0
    assert ahead.expired()
    assert ahead.remaining_s() == 0.0


def test_work_that_may_be_late_has_no_time_left_and_is_not_expired(
    two_maps: tuple[SharedBudgets, SharedBudgets],
) -> None:
    """The time left is that to the deadline; the budget expires later, as the other side says."""
    ours, theirs = (one.regions[0] for one in two_maps)
    ours.generations[0], ours.expiries[0], ours.lates[0] = 1, time.monotonic() + 60, 20.0
    budget = _budget(theirs, 0, 1)
    assert 39 < budget.remaining_s() <= 40
    ours.lates[0] = 61.0
    assert budget.remaining_s() == 0.0
    assert not budget.expired()


def test_a_stale_budget_never_speaks_for_the_next_work(
    two_maps: tuple[SharedBudgets, SharedBudgets],
) -> None:
    """Once its slot is another task's, a budget is expired, whatever that task's deadline."""
    ours, theirs = (one.regions[0] for one in two_maps)
    ours.generations[0], ours.expiries[0] = 1, time.monotonic() + 60
    first = _budget(theirs, 0, 1)
    ours.generations[0], ours.expiries[0] = 2, time.monotonic() + 60
    assert first.expired()
    assert first.remaining_s() == 0.0
    assert not _budget(theirs, 0, 2).expired()


def test_a_budget_can_stand_alone() -> None:
    """`until` needs no shared memory and follows the clock."""
    assert not Budget.until(math.inf).expired()
    assert not Budget.until(time.monotonic() + 60).expired()
    assert Budget.until(time.monotonic()).expired()


def test_asking_costs_less_than_a_microsecond(
    two_maps: tuple[SharedBudgets, SharedBudgets],
) -> None:
    """Ranking code may ask for every document: the best of several rounds takes below 1 µs each."""
    ours, theirs = (one.regions[0] for one in two_maps)
    ours.generations[0], ours.expiries[0] = 1, time.monotonic() + 60
    one = _budget(theirs, 0, 1)
    num_calls = 2_000
    rounds_s = timeit.repeat(one.expired, timer=time.thread_time, number=num_calls, repeat=70)
    best_s = min(rounds_s) / num_calls
    assert best_s < 1e-6
