"""Which replicas of a new shard are cloned, and which wait for a snapshot, in virtual time."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.splitting.clone_leases import LEASE_S
from hedgerow.shard_worker.splitting.clone_or_restore import (
    MOST_WAIT_S,
    Beginning,
    Seen,
    choose,
)

STEP_S = 0.25
CLONE, RESTORE, WAIT = Beginning.CLONE, Beginning.RESTORE, Beginning.WAIT


def seen(
    snapshot: str | None = None,
    *,
    is_being_made: bool = False,
    waited_s: float = 0.0,
    has_failed: bool = False,
    has_turn: bool = True,
    has_lease: bool = True,
) -> Seen:
    """What a worker has found, of a shard whose log begins after the entry 5-0."""
    return Seen("5-0", snapshot, is_being_made, waited_s, has_failed, has_turn, has_lease)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (seen(), CLONE),
        # another worker clones the shard, or makes a snapshot
        (seen(has_lease=False), WAIT),
        (seen(is_being_made=True), WAIT),
        (seen(is_being_made=True, waited_s=MOST_WAIT_S - 1), WAIT),
        # this one clones another shard
        (seen(has_turn=False, has_lease=False), WAIT),
        (seen(has_turn=False, has_lease=False, has_failed=True), WAIT),
        # a snapshot that goes as far as the log begins, or further
        (seen("5-0"), RESTORE),
        (seen("6-0", has_lease=False), RESTORE),
        (seen("6-0", has_turn=False, has_lease=False), RESTORE),
        (seen("6-0", has_failed=True), RESTORE),
        (seen("4-9"), CLONE),
        # one that will not come
        (seen(has_failed=True, has_lease=False), CLONE),
        (seen(is_being_made=True, waited_s=MOST_WAIT_S, has_lease=False), CLONE),
    ],
)
def test_how_a_replica_begins(found: Seen, expected: Beginning) -> None:
    """With a snapshot if there is one that suffices; as a clone if none is to be expected."""
    assert choose(found) is expected


@dataclass
class Worker:
    """A worker that is to have the shard.

    Attributes:
        clone_s: how long it takes to clone the shard.
        snapshot_s: how long it takes to make a snapshot; None if that fails at once.
        dies_at, begins_at: when; the latter is when it can first look for the shard.
    """

    clone_s: float
    snapshot_s: float | None
    dies_at: float
    begins_at: float
    cloned_at: float | None = None
    has_at: float | None = None
    made_at: float | None = None
    waiting_since: float | None = None


@dataclass
class Shard:
    """A new shard, its lease and its snapshot, as Redis knows them."""

    workers: list[Worker]
    now: float = 0.0
    lease: tuple[int, float] = (-1, 0.0)  # the holder, and when it ends
    snapshot: bool = False
    has_failed: bool = False
    making: int | None = None
    num_clones: int = 0
    cloning: dict[int, float] = field(default_factory=dict)  # worker → when it is done

    def run(self, until: float) -> None:
        """Let everything happen."""
        while self.now < until:
            for number, worker in enumerate(self.workers):
                if worker.begins_at <= self.now < worker.dies_at:
                    self._act(number, worker)
            self.now += STEP_S

    def _hold(self, number: int) -> bool:
        holder, ends_at = self.lease
        if holder != number and self.now < ends_at:
            return False
        self.lease = number, self.now + LEASE_S
        return True

    def _act(self, number: int, worker: Worker) -> None:
        if number in self.cloning:
            self._hold(number)
            if self.now >= self.cloning[number]:
                del self.cloning[number]
                worker.has_at = worker.cloned_at = self.now
        elif worker.has_at is None:
            self._begin(number, worker)
        elif worker.cloned_at is not None and not self.snapshot and not self.has_failed:
            self._make_snapshot(number, worker)

    def _begin(self, number: int, worker: Worker) -> None:
        is_made = self.making is not None and self.now < self.workers[self.making].dies_at
        if not is_made:
            worker.waiting_since = None
        elif worker.waiting_since is None:
            worker.waiting_since = self.now
        waited_s = 0.0 if worker.waiting_since is None else self.now - worker.waiting_since
        position = "7-0" if self.snapshot else None
        has_lease = self._hold(number)
        match choose(Seen("5-0", position, is_made, waited_s, self.has_failed, True, has_lease)):
            case Beginning.CLONE:
                self.num_clones += 1
                self.cloning[number] = self.now + worker.clone_s
            case Beginning.RESTORE:
                assert self.snapshot
                worker.has_at = self.now
            case Beginning.WAIT:
                if has_lease:
                    self.lease = -1, 0.0

    def _make_snapshot(self, number: int, worker: Worker) -> None:
        if worker.snapshot_s is None:
            self.has_failed = True
        elif self.making in (None, number):
            self.making = number
            worker.made_at = worker.made_at or self.now + worker.snapshot_s
            self.snapshot = self.now >= worker.made_at
            if self.snapshot:
                self.making = None


times = st.floats(0.0, 40.0)


@given(st.lists(st.tuples(times, st.floats(0.0, 5.0), times), min_size=1, max_size=4))
def test_one_replica_is_cloned_if_nothing_fails(
    workers: list[tuple[float, float, float]],
) -> None:
    """Whatever clones and snapshots take, and whenever the workers begin."""
    shard = Shard([Worker(one, two, 1e9, begins) for one, two, begins in workers])
    shard.run(200.0)
    assert all(worker.has_at is not None for worker in shard.workers)
    assert shard.num_clones == 1


@given(
    st.lists(
        st.tuples(
            times,
            st.none() | st.floats(0.0, 20.0) | st.just(1e9),
            st.just(1e9) | st.floats(0.0, 200.0),
            times,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_worker_that_lives_has_the_shard_in_bounded_time(
    workers: list[tuple[float, float | None, float, float]],
) -> None:
    """Others may die at any moment, and snapshots fail, or take for ever."""
    shard = Shard([Worker(*one) for one in workers])
    shard.run(200.0 + len(workers) * (MOST_WAIT_S + LEASE_S + 40.0))
    for worker in shard.workers:
        assert worker.has_at is not None or worker.dies_at < 1e9
