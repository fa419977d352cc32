"""When the placement is asked to change, without a server."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest

from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.common.placement.members import Observation
from hedgerow.common.placement.policy import Rules
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.context import Context
from hedgerow.shard_worker.control.placing import (
    LEASE_S,
    LOOK_S,
    Placing,
    among_fillers,
    has_settled,
)
from hedgerow.shard_worker.control.queues import JobQueues
from tests.support.waiting import until
from tests.unit.support.heartbeats import beat

NUM_SHARDS = 4


class FakeStore:
    """The placement, the heartbeats and the lease, in memory; time is what the test says."""

    def __init__(self) -> None:
        self.placement: Placement | None = None
        self.beats: dict[str, Heartbeat] = {}
        self.draining_workers: set[str] = set()
        self.departed: dict[str, int] = {}
        self.has_lease = True
        self.now_ms = 100_000
        self.num_looks = 0

    async def hold_lease(self, _worker: str, hold_s: float) -> bool:
        """As the test says."""
        assert hold_s == LEASE_S
        return self.has_lease

    async def read(self) -> Placement | None:
        """The placement."""
        return self.placement

    async def observe(self, _registry: object, num_shards: int) -> Observation:
        """Everything else, at `now_ms`."""
        self.num_looks += 1
        beats = {one: replace(sent, beat_at_ms=self.now_ms) for one, sent in self.beats.items()}
        draining = frozenset(self.draining_workers)
        return Observation(num_shards, beats, draining, dict(self.departed), self.now_ms)

    async def note_departed(self, since_ms: dict[str, int], forgotten: list[str]) -> None:
        """Remember it."""
        self.departed.update(since_ms)
        for worker in forgotten:
            del self.departed[worker]

    async def set_draining(self, worker: str, *, is_draining: bool) -> None:
        """Remember it."""
        assert not is_draining
        self.draining_workers.discard(worker)

    async def write(self, placement: Placement, expected_version: int) -> bool:
        """Take every version."""
        assert expected_version == (self.placement.version if self.placement else 0)
        self.placement = placement
        return True


class FakeQueues:
    """Counts the jobs, which the test runs.

    Attributes:
        ids: of the jobs that were requested.
        num_run: how many of them had been requested when they were last run.
        is_running: whether they are being run.
        is_slow: whether that takes until it is cancelled.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.num_run = 0
        self.is_running = False
        self.is_slow = True

    async def run_waiting(self, _queue: str, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """Run those that there are."""
        assert name == "place"
        self.is_running = True
        try:
            if self.is_slow:
                await asyncio.Event().wait()
            elif self.num_run < len(self.ids):
                self.num_run = len(self.ids)
                await job()
        finally:
            self.is_running = False

    async def enqueue(self, _queue: str, name: str, *, job_id: str, again_s: float) -> None:
        """Remember it."""
        assert (name, again_s) == ("place", LEASE_S)
        self.ids.append(job_id)


class Watch:
    """One worker's part of the placement, step by step."""

    def __init__(self) -> None:
        context = Context(Settings(), "w", NUM_SHARDS, cast("RedisClient", None), Keys())
        self.placing = Placing(context)
        self.store = FakeStore()
        self.queues = FakeQueues()
        cast("Any", self.placing)._store = self.store

    def join(self, worker: str, **changes: object) -> None:
        """A worker sends heartbeats from now on."""
        joined = replace(beat(worker, [], 0), joins=True, started_at_ms=self.store.now_ms)
        self.store.beats[worker] = replace(joined, **changes)  # type: ignore[arg-type]

    def carry_out(self) -> None:
        """All workers serve what names them."""
        assert self.store.placement is not None
        for worker, sent in self.store.beats.items():
            held = sorted(self.store.placement.held_by(worker))
            self.store.beats[worker] = replace(sent, shards=held)

    async def tick(self, later_ms: int = 0) -> int:
        """A look, some time later and though none is due; returns the number of new jobs."""
        before = len(self.queues.ids)
        self.store.now_ms += later_ms
        self.placing._look_at = 0.0
        await self.placing._tick(cast("JobQueues", self.queues))
        return len(self.queues.ids) - before

    async def settle(self, worker: str = "a") -> None:
        """A cluster of one worker that serves everything."""
        self.join(worker)
        assert await self.tick(10_000) == 1
        await self.placing._place()
        self.carry_out()
        assert await self.tick() == 0


async def test_a_settled_cluster_needs_no_job() -> None:
    """The job is requested until it has run; then, until something changes, it is not."""
    watch = Watch()
    watch.join("a")
    assert [await watch.tick(10_000), await watch.tick()] == [1, 1]
    assert set(watch.queues.ids) == {"place:none"}
    await watch.placing._place()
    watch.carry_out()
    assert [await watch.tick(5_000) for _ in range(5)] == [0] * 5
    watch.join("b", stored=[0, 1, 2, 3])
    assert await watch.tick() == 1
    assert watch.queues.ids[-1].startswith("place:1:")


async def test_while_nothing_changes_the_policy_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A look at what was decided upon before costs no decision, except while a worker is lost."""
    watch = Watch()
    await watch.settle()
    asked = []

    async def plan(*arguments: object) -> object:
        asked.append(arguments)
        raise AssertionError

    monkeypatch.setattr(watch.placing, "_plan", plan)
    assert await watch.tick(5_000) == 0
    del watch.store.beats["a"]
    with pytest.raises(AssertionError):
        await watch.tick()
    assert len(asked) == 1


async def test_only_the_worker_with_the_lease_looks() -> None:
    """Another one does not even read the heartbeats; and between two looks there is some time."""
    watch = Watch()
    await watch.settle()
    looks = watch.store.num_looks
    watch.store.has_lease = False
    await watch.tick()
    assert watch.store.num_looks == looks
    watch.store.has_lease = True
    await watch.tick()
    assert watch.store.num_looks == looks + 1
    await watch.placing._tick(cast("JobQueues", watch.queues))
    assert watch.store.num_looks == looks + 1
    assert LOOK_S > 1


async def test_a_worker_that_signs_off_is_dated() -> None:
    """It is replaced when `placement.replace_after_s` has passed since it was missed first."""
    watch = Watch()
    await watch.settle()
    watch.join("b")
    del watch.store.beats["a"]
    assert await watch.tick(1) == 0
    assert watch.store.departed == {"a": watch.store.now_ms}
    after_ms = int(Rules.of(Settings()).replace_after_ms)
    assert await watch.tick(after_ms - 1) == 0
    watch.store.beats["b"] = replace(watch.store.beats["b"], stored=[0, 1, 2, 3])
    assert await watch.tick(1) == 1
    watch.join("a")
    await watch.tick(1)
    assert watch.store.departed == {}


async def test_a_drain_ends_when_the_drained_worker_has_stopped() -> None:
    """While it holds a shard, or still runs, it drains."""
    watch = Watch()
    await watch.settle()
    watch.join("b")
    watch.store.draining_workers = {"a", "b"}
    await watch.tick()
    assert watch.store.draining_workers == {"a", "b"}
    del watch.store.beats["a"], watch.store.beats["b"]
    await watch.tick()
    assert watch.store.draining_workers == {"a"}


def test_the_first_placement_waits_for_workers_that_start_together() -> None:
    """It waits until the newest worker has run for some time; with lost data, for longer."""

    def settled(started_ms: int, *stored: int) -> bool:
        sent = replace(beat("a", [], 0), joins=True, started_at_ms=started_ms, stored=list(stored))
        seen = Observation(NUM_SHARDS, {"a": sent}, frozenset(), {}, 100_000)
        return has_settled(None, seen, 60.0)

    assert [settled(98_001), settled(98_000)] == [False, True]
    assert [settled(98_000, 0, 1), settled(40_000, 0, 1)] == [False, True]
    assert settled(98_000, 0, 1, 2, 3)
    assert has_settled(Placement(1, 1, 1, 0, ()), Observation(1, {}, frozenset(), {}, 0), 60.0)


def observed(now_ms: int = 100_000, **started_ms: int) -> Observation:
    """Workers that joined at these instants, and have sent a heartbeat now."""
    beats = {
        worker: replace(beat(worker, [], now_ms), joins=True, started_at_ms=at_ms)
        for worker, at_ms in started_ms.items()
    }
    return Observation(NUM_SHARDS, beats, frozenset(), {}, now_ms)


def test_shards_that_are_filled_wait_for_the_workers_that_fill_them_and_for_no_others() -> None:
    """A placement without one of them would have all documents copied; but it may never start."""
    assert has_settled(None, observed(a=99_999, b=99_999), 60.0, {"a", "b"})
    assert not has_settled(None, observed(a=40_001, c=90_000), 5.0, {"a", "b"})
    assert has_settled(None, observed(a=40_000, c=90_000), 5.0, {"a", "b"})


@pytest.mark.parametrize(
    ("present", "live", "taken"),
    [
        ((), "abc", "ab"),
        ((), "ac", "a"),
        ((), "c", "c"),
        (("a", "b"), "abc", "ab"),
        (("a", "c"), "abc", "ac"),
        (("a", "b"), "ac", "ac"),
        (("a",), "abc", "ab"),
        (("a",), "ac", "a"),
    ],
    ids=[
        "first",
        "one starts",
        "none starts",
        "later",
        "another has some",
        "one is lost",
        "one is new, and a replica is missing",
        "a replica is missing",
    ],
)
def test_shards_that_are_filled_stay_on_workers_that_fill_them(
    present: tuple[str, ...], live: str, taken: str
) -> None:
    """One that has no old shard gets its share later, unless there are too few without it."""
    placement = Placement(1, NUM_SHARDS, 2, 0, (ShardPlacement(present),)) if present else None
    seen = observed(**dict.fromkeys(live, 0))
    assert set(among_fillers(seen, placement, {"a", "b"}, 5.0).heartbeats) == set(taken)


async def test_a_version_that_a_failover_has_changed_is_looked_at_again() -> None:
    """Other contents under the same version are planned for, though nothing else has changed."""
    watch = Watch()
    await watch.settle()
    assert await watch.tick() == 0
    present = watch.store.placement
    assert present is not None
    empty = tuple(ShardPlacement() for _ in present.shards)
    watch.store.placement = msgspec.structs.replace(present, shards=empty)
    assert await watch.tick() == 1


async def test_only_the_worker_that_watches_runs_the_jobs() -> None:
    """It begins when it has the lease, and ends when another one has it."""
    watch = Watch()
    watch.store.has_lease = False
    serving = asyncio.create_task(watch.placing._serve(cast("JobQueues", watch.queues)))
    running = []
    for has_lease in (False, True, True, False, True):
        watch.store.has_lease = has_lease
        await watch.tick()
        for _ in range(10):  # turns of the loop, in which tasks begin and end
            await asyncio.sleep(0)
        running.append(watch.queues.is_running)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert running == [False, True, True, False, True]
    assert not watch.queues.is_running


async def test_a_job_runs_as_soon_as_it_is_requested() -> None:
    """The worker that watches waits for nothing more, for one version as for the next."""
    watch = Watch()
    watch.queues.is_slow = False
    versions = []
    serving = asyncio.create_task(watch.placing._serve(cast("JobQueues", watch.queues)))
    for worker in ("a", "b"):
        watch.join(worker, stored=[0, 1, 2, 3])
        assert await watch.tick(10_000) == 1
        await until(lambda: watch.queues.num_run == len(watch.queues.ids))
        await until(lambda: not watch.queues.is_running)
        assert watch.store.placement is not None
        versions.append(watch.store.placement.version)
        watch.carry_out()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert versions == [1, 2]
