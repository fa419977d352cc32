"""Keeps the placement of shards current, in a worker that joined.

    a heartbeat, the placement or a drain has changed ► the watching worker asks the policy what
        should change ► if something, it requests the job `place` ► the job decides by what is true
        then, and stores the next version ► workers carry it out

One worker at a time watches, by a lease, and runs the jobs as soon as it has requested them: no
worker polls for them. One that takes the lease runs what the one before has left. What it reads is
compared with what it read last, so while nothing changes, the policy is not asked and no job runs.
A job that is lost is requested again. Two that run at once do no harm, since a version replaces
only the one that it was computed from.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial

import structlog

from hedgerow.common.errors import RedisUnavailableError, WireError
from hedgerow.common.placement.document import Placement
from hedgerow.common.placement.members import Cluster, Observation, cluster_of, named_by
from hedgerow.common.placement.policy import Plan, Rules, plan
from hedgerow.common.placement.store import DRAINING, PLACED, PlacementStore
from hedgerow.common.redis.reconcile import reconcile
from hedgerow.common.redis.shared_events import RECONNECTED
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import end, run_together
from hedgerow.shard_worker.context import Context
from hedgerow.shard_worker.control.queues import JobQueues, retry

LEASE_S = 5.0  # renewed each second
SETTLE_S = 2.0  # how long the first placement waits for more workers to start
# The same for the new shards of a split, from the first start. No search misses them yet, and a
# placement without one of the workers that can clone them would have all documents copied.
FILLERS_WITHIN_S = 60.0
SHORTEST_PAUSE_S = 0.25  # between two looks
LOOK_S = 5.0  # longest time between two looks: a worker that was killed announces nothing

_log = structlog.get_logger()


class Placing:
    """Watches whether the placement must change, and runs the job that changes it."""

    def __init__(
        self, context: Context, fillers: Callable[[], Awaitable[Collection[str]]] | None = None
    ) -> None:
        """Keep the placement of a worker's cluster current.

        Args:
            context: the worker.
            fillers: returns the workers that fill the shards from those that a split divides, while
                they do, whether they are live or not; None if these are no new shards.
        """
        self._control = context.control
        self._keys = context.keys
        self._worker = context.worker_id
        self._num_shards = context.num_shards
        self._settings = context.settings
        self._rules = Rules.of(context.settings)
        self._find_fillers = fillers
        self._store = PlacementStore(context.control, context.keys)
        self._registry = Registry(context.control, context.keys)
        self._woken = asyncio.Event()
        self._watching = asyncio.Event()
        self._not_watching = asyncio.Event()
        self._requested = asyncio.Event()
        self._look_at = 0.0  # the event loop's time
        # For which nothing had to change. The placement itself and not its version, since a
        # failover of Redis may lose a version, whose number is then given to another.
        self._decided: tuple[Placement | None, Cluster] | None = None

    async def run(self) -> None:
        """Run until cancelled."""
        primary = self._control.primary
        async with JobQueues.connect(self._keys, self._control.settings, primary) as queues:
            await run_together(
                self._serve(queues),
                reconcile(
                    "placement_waits",
                    partial(self._look, queues),
                    self._woken,
                    self._settings.redis.reconnect_max_s,
                ),
                self._listen(),
            )

    async def _serve(self, queues: JobQueues) -> None:
        """Run the jobs while this worker watches."""
        while True:
            await self._watching.wait()
            serving = asyncio.create_task(self._run_requested(queues), name="place")
            try:
                await self._not_watching.wait()
            finally:
                await end([serving])

    async def _run_requested(self, queues: JobQueues) -> None:
        self._requested.set()  # what the worker that watched before has left
        while True:
            await self._requested.wait()
            self._requested.clear()
            await queues.run_waiting(self._queue, "place", self._place)

    async def _look(self, queues: JobQueues) -> None:
        """Look soon after the last time, at the earliest: while shards move, much is announced."""
        await asyncio.sleep(SHORTEST_PAUSE_S)
        await self._tick(queues)

    async def _tick(self, queues: JobQueues) -> None:
        """Request the job if this worker watches and the policy would change something."""
        is_watching = await self._store.hold_lease(self._worker, LEASE_S)
        self._note(is_watching=is_watching)
        now = asyncio.get_running_loop().time()
        if not is_watching or now < self._look_at:
            return
        self._look_at = now + LOOK_S
        present = await self._read()
        seen = await self._store.observe(self._registry, self._num_shards)
        await self._keep_records(seen, present)
        fillers = await self._fillers()
        cluster = self._cluster(seen, present, fillers)
        is_waiting = any(member.lost_since_ms is not None for member in cluster.members)
        if not is_waiting and self._decided == (present, cluster):
            return
        if not has_settled(present, seen, self._settings.placement.replace_after_s, fillers):
            self._look_at = now
            return
        decided = await self._plan(present, cluster, seen.now_ms)
        if decided.next is present:
            self._decided = present, cluster
            return
        self._look_at = now  # until the next version is there
        of = "none" if present is None else f"{present.version}:{present.computed_at_ms}"
        await queues.enqueue(self._queue, "place", job_id=f"place:{of}", again_s=LEASE_S)
        self._requested.set()

    def _note(self, *, is_watching: bool) -> None:
        begun, ended = self._watching, self._not_watching
        (begun if is_watching else ended).set()
        (ended if is_watching else begun).clear()

    async def _place(self) -> None:
        """The job: decide by what is true now, and store the next version."""
        try:
            present = await self._read()
            seen = await self._store.observe(self._registry, self._num_shards)
            cluster = self._cluster(seen, present, await self._fillers())
            decided = await self._plan(present, cluster, seen.now_ms)
            if decided.next is None or decided.next is present:
                return
            version = present.version if present is not None else 0
            if await self._store.write(decided.next, version):
                _log.info("placement_changed", version=decided.next.version)
        except RedisUnavailableError as error:
            raise retry() from error

    async def _plan(self, present: Placement | None, cluster: Cluster, now_ms: int) -> Plan:
        # In a thread, since it takes 0.2 s for 10,000 shards.
        return await asyncio.to_thread(plan, present, cluster, self._rules, now_ms)

    def _cluster(
        self, seen: Observation, present: Placement | None, fillers: Collection[str]
    ) -> Cluster:
        await_s = self._settings.placement.replace_after_s
        return cluster_of(
            among_fillers(seen, present, fillers, await_s) if fillers else seen,
            present,
            expiry_s=self._settings.worker.heartbeat_expiry_s,
            pinned_for_s=self._settings.placement.replace_after_s,
        )

    async def _fillers(self) -> Collection[str]:
        try:
            return () if self._find_fillers is None else await self._find_fillers()
        except WireError as error:
            raise RedisUnavailableError(str(error)) from error

    async def _keep_records(self, seen: Observation, present: Placement | None) -> None:
        """Record who has signed off, and end the drains of workers that have stopped since."""
        named = named_by(present)
        gone, forgotten = seen.departures(named)
        await self._store.note_departed(gone, forgotten)
        for worker in seen.draining - seen.heartbeats.keys() - named:
            await self._store.set_draining(worker, is_draining=False)

    async def _read(self) -> Placement | None:
        try:
            return await self._store.read()
        except WireError as error:  # of a newer version, whose workers keep it current
            raise RedisUnavailableError(str(error)) from error

    async def _listen(self) -> None:
        async for event in self._control.events(self._keys.events):
            kind = event.partition(b":")[0].decode(errors="replace")
            has_changed = kind in ("workers", PLACED, DRAINING, RECONNECTED.decode())
            if has_changed and self._watching.is_set():
                self._look_at = 0.0
                self._woken.set()

    @property
    def _queue(self) -> str:
        return f"{self._keys.jobs}:placement"


def among_fillers(
    seen: Observation, present: Placement | None, fillers: Collection[str], await_s: float
) -> Observation:
    """What was observed, without workers to which shards that are being filled should not go yet.

    The shards are placed on workers that fill them, and stay there until they are filled: another
    worker would need copies of all documents. It gets its share afterwards. If they are fewer than
    the replicas that a shard should have, workers that have come to fill them since are taken, too:
    the split waits until the new shards have as many replicas as the old ones. If one of them is
    lost for as long as the policy waits for it, all that are live are taken.

    Args:
        seen: what was observed.
        present: the present placement.
        fillers: the workers that fill the shards.
        await_s: how long a lost worker is waited for, in s.
    """
    wanted = named_by(present) or seen.heartbeats.keys() & set(fillers)
    if present is not None and len(wanted) < present.replicas:
        wanted |= {worker for worker in fillers if seen.is_live(worker, await_s)}
    if not wanted or not all(seen.is_live(worker, await_s) for worker in wanted):
        return seen
    beats = seen.heartbeats.items()
    return replace(
        seen,
        heartbeats={name: beat for name, beat in beats if name in wanted or not beat.joins},
    )


def has_settled(
    present: Placement | None, seen: Observation, await_s: float, fillers: Collection[str] = ()
) -> bool:
    """Whether the workers that start together have all had time to join.

    The first placement would otherwise give all shards to the first worker. If some shards are on
    workers' disks and others on none, a placement was lost, and with it the names of workers that
    have the others: they get as much time as a lost worker. Shards that are filled from others wait
    for all workers that fill them, and for no others.

    Args:
        present: the present placement; if there is one, nothing is waited for.
        seen: the heartbeats.
        await_s: how long a lost worker is waited for, in s.
        fillers: workers that fill the shards from others; none if these are not being filled.
    """
    joined = [beat for beat in seen.heartbeats.values() if beat.joins]
    if present is not None or not joined:
        return True
    if fillers:
        first_start_ms = min(beat.started_at_ms for beat in joined)
        is_late = seen.now_ms - first_start_ms >= FILLERS_WITHIN_S * 1000
        return is_late or seen.heartbeats.keys() >= set(fillers)
    stored = {shard for beat in joined for shard in beat.stored}
    wait_s = await_s if 0 < len(stored) < seen.num_shards else SETTLE_S
    last_start_ms = max(beat.started_at_ms for beat in joined)
    return seen.now_ms - last_start_ms >= wait_s * 1000
