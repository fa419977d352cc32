"""Keeps track of the snapshots of this worker's shards, and requests those that are due.

As for term statistics, the current state is compared with what was done, to decide what to do. All
replicas of a shard do this. The job that they request has the same id, which contains the number of
earlier attempts, so that only one of them runs it. If the maker is killed, its lease expires, and
the next attempt is another job, which need not wait until arq releases the first one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import structlog

from hedgerow.common.errors import HedgerowError
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.reconcile import TICK_S, reconcile, wake_at
from hedgerow.common.runtime.ticks import sleep_to_tick
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.snapshots.manifest import Manifest
from hedgerow.common.snapshots.status import EVENT, SnapshotFacts, SnapshotRecords, SnapshotStatus
from hedgerow.common.snapshots.store import SnapshotStore
from hedgerow.common.state.registry import Registry
from hedgerow.shard_worker.executors.thread_pool.threads import ThreadLane
from hedgerow.shard_worker.indexing.absent_replicas import AbsentReplicas
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.snapshots.maker import SnapshotMaker
from hedgerow.shard_worker.snapshots.policy import ShardNow, is_due, is_overdue, newest_age_s

TELL_OVERDUE_S = 60.0
SOON_S = 0.05  # between two looks whether a snapshot can be made that others wait for
NUM_THREADS = 2  # one uploads, and the other can clean up meanwhile

Enqueue = Callable[[int, int], Awaitable[None]]

_log = structlog.get_logger()


class Snapshots:
    """Keeps the snapshots of a worker's shards up to date, if snapshots are switched on.

    Attributes:
        store: where the snapshots are; None if they are switched off.
        threads: the thread pool for calls that take minutes.
    """

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        applier: Applier,
        indexer: IndexerClient,
        settings: Settings,
    ) -> None:
        """Create the parts; `run` does the work.

        Args:
            control: Redis.
            keys: the names of everything in Redis.
            applier: knows how far the shards are; it asks in turn for `position`.
            indexer: copies a shard while it writes to it.
            settings: of which `data`, `redis`, `worker` and `snapshots` are used.

        Raises:
            ConfigurationError: there is no driver for `snapshots.url`.
        """
        self._keys = keys
        self._control = control
        self._settings = settings
        url = settings.snapshots.url
        self.store = SnapshotStore(url, keys.folder, settings.snapshots) if url else None
        self.threads = ThreadLane(
            num_threads=NUM_THREADS, lost_after_s=settings.snapshots.timeout_s, name="snapshots"
        )
        self._records = SnapshotRecords(control, keys)
        self._registry = Registry(control, keys)
        self._log = ShardLog(control, keys)
        self._maker: SnapshotMaker | None = None
        if self.store is not None:
            self._maker = SnapshotMaker(settings, self.store, self._records, indexer, self.threads)
        self._applier = applier
        self._num_shards = 0
        self._newest: dict[int, SnapshotFacts | None] = {}
        self._first: dict[int, SnapshotFacts | None] = {}  # the newest one when it was opened
        self._settled: dict[int, str] = {}
        self._known_since: dict[int, _KnownSince] = {}
        self._first_soon: set[int] = set()
        self._throttle = Throttle(TELL_OVERDUE_S)
        self._absent: dict[int, AbsentReplicas] = {}
        self._woken = asyncio.Event()

    @property
    def is_on(self) -> bool:
        """Whether snapshots are made at all."""
        return self.store is not None

    def position(self, shard: int) -> str | None:
        """The log position of a shard's newest snapshot; None if snapshots are switched off."""
        if self.store is None:
            return None
        newest = self._newest.get(shard)
        return newest.position if newest else START

    async def open(self, shard: int) -> None:
        """Read which snapshots of a shard exist, and correct the record in Redis.

        Raises:
            SnapshotError: the snapshots' target does not answer.
            RedisUnavailableError: Redis does not answer.
        """
        if self.store is None:
            return
        recorded = (await self._records.status([shard]))[shard].newest
        newest = await self._newest_on_target(shard)
        found = SnapshotFacts.of(newest) if newest else None
        if found != recorded:
            if recorded is not None and (found is None or found.id < recorded.id):
                _log.error("snapshot_missing", shard=shard, id=recorded.id)
            await self._records.set_newest(shard, found)
        self._newest[shard] = self._first[shard] = found

    def has_newer(self, shard: int) -> bool:
        """Whether there is a newer snapshot than when an open shard was opened."""
        newest = self._newest.get(shard)
        return newest is not None and newest != self._first.get(shard)

    def make_first_soon(self, shard: int) -> None:
        """Have the first snapshot of an open shard made as soon as this replica may make one."""
        self._first_soon.add(shard)

    def close(self, shard: int) -> None:
        """Forget a shard that this worker no longer holds."""
        self._first_soon.discard(shard)
        self._newest.pop(shard, None)
        self._first.pop(shard, None)
        self._settled.pop(shard, None)
        self._known_since.pop(shard, None)
        self._absent.pop(shard, None)

    async def _newest_on_target(self, shard: int) -> Manifest | None:
        store = self.store
        if store is None:
            return None
        return await self.threads.run(
            lambda: next(store.manifests(shard), None), self._settings.snapshots.timeout_s
        )

    async def run(self, enqueue: Enqueue) -> None:
        """Request snapshots that are due, until cancelled.

        Args:
            enqueue: requests the job that calls `make` with the same arguments.
        """
        await reconcile(
            "snapshots_wait",
            partial(self._tick, enqueue),
            self._woken,
            self._settings.redis.reconnect_max_s,
        )

    async def listen(self) -> None:
        """Have `run` check at once when an event announces a change; runs until cancelled."""
        await wake_at(self._control, self._keys.events, EVENT, self._woken)

    async def make(self, shard: int, begun: int) -> bool:
        """Make a snapshot after `begun` earlier attempts; the job that `run` requests.

        A failure is recorded in Redis and logged, and a later job tries again.

        Returns:
            False if this replica must not make the snapshot, but another may.
        """
        if self._maker is None:
            return True
        try:
            if not await self._is_fit(shard):
                return False
            self._num_shards = self._num_shards or await self._registry.cluster()
            made = await self._maker.make(shard, begun, self._num_shards)
        except HedgerowError as error:
            _log.debug("snapshot_again", shard=shard, error=str(error))
        else:
            if made is not None:
                self._newest[shard] = made
        return True

    async def attempts_at_first(self, shard: int) -> int | None:
        """How often the snapshot was begun that `make_first_soon` asked for; None if not needed.

        No replica needs one of a shard that has nothing, or only some of the documents that a split
        copies to it. The answer is None from then on.
        """
        if shard not in self._first_soon:
            return None
        self._first_soon.discard(shard)
        try:
            status = (await self._records.status([shard]))[shard]
        except HedgerowError as error:  # it is made when it is due
            _log.debug("snapshot_later", shard=shard, error=str(error))
            return None
        state = self._applier.states.get(shard)
        has_all = state is not None and position(state.position)[0] > 0
        is_first = status.newest is None and not status.is_running and not status.error
        return status.begun if has_all and is_first else None

    async def wait_until_fit(self, shard: int) -> None:
        """Wait until this replica may make snapshots of a shard."""
        while True:
            try:
                if await self._is_fit(shard):
                    return
            except HedgerowError as error:
                _log.debug("fitness_unknown", shard=shard, error=str(error))
            if shard in self._first_soon:
                await asyncio.sleep(SOON_S)
            else:
                await sleep_to_tick(TICK_S)

    async def _is_fit(self, shard: int) -> bool:
        """Whether this replica is consistent and has at least what the newest snapshot has.

        When a worker starts after a kill, its indexes may be ahead of its store by one batch, until
        it has applied all entries that the log had at that time.
        """
        if shard not in self._applier.states or shard in self._applier.withheld:
            return False
        settled = self._settled.get(shard) or await self._log.newest(shard)
        state = self._applier.states.get(shard)
        if state is None:
            return False  # let go of meanwhile
        self._settled[shard] = settled
        held = position(state.position)
        newest = self._newest.get(shard)
        is_ahead = newest is None or held >= position(newest.position)
        return is_ahead and held >= position(settled)

    async def _tick(self, enqueue: Enqueue) -> None:
        status = await self._records.status(self._applier.states)
        now_ms = await self._records.now_ms()
        await self._forget_absent(status, now_ms)
        for shard, one in status.items():
            if shard not in self._applier.states:
                continue  # let go of meanwhile
            self._newest[shard] = one.newest
            known = self._known_since.setdefault(shard, _KnownSince())
            newest_s, failed_s = known.ages_s(one, asyncio.get_running_loop().time())
            if not await self._is_fit(shard):
                continue
            state = self._applier.states[shard]
            now = ShardNow(state.position, self._applier.kept(shard), newest_s, failed_s)
            if is_due(now, one, now_ms, self._settings.snapshots):
                await enqueue(shard, one.begun)
            if is_overdue(now, one, now_ms, self._settings.snapshots):
                self._log_overdue(shard, now, one, now_ms)

    async def _forget_absent(self, status: Mapping[int, SnapshotStatus], now_ms: int) -> None:
        """Let the logs forget replicas that are gone, once a snapshot covers what they had."""
        expiry_ms = self._settings.worker.heartbeat_expiry_s * 1000
        heartbeats = self._registry.dated(await self._registry.heartbeats(), now_ms).values()
        live = [beat.replicas for beat in heartbeats if now_ms - beat.beat_at_ms < expiry_ms]
        for shard, applied in (await self._log.applied_of(list(status))).items():
            newest = status[shard].newest
            if shard not in self._applier.states:
                continue  # let go of meanwhile
            if shard not in self._absent:
                self._absent[shard] = AbsentReplicas(self._settings.snapshots.forget_replica_s)
            for replica in self._absent[shard].forgettable(
                applied,
                {replicas[shard] for replicas in live if shard in replicas},
                newest.position if newest else START,
                asyncio.get_running_loop().time(),
            ):
                _log.warning(
                    "replica_forgotten", shard=shard, replica=replica, position=applied[replica]
                )
                await self._log.forget_replica(shard, replica)
                self._applier.trim_again(shard)

    def _log_overdue(self, shard: int, now: ShardNow, status: SnapshotStatus, now_ms: int) -> None:
        if self._throttle.allows(f"overdue {shard}", asyncio.get_running_loop().time()):
            newest = status.newest
            _log.error(
                "snapshot_overdue",
                shard=shard,
                age_s=round(newest_age_s(now, status, now_ms)) if newest else None,
                log_entries_kept=now.kept,
                reason=status.error,
                hint="the log grows until there is a snapshot; see docs/snapshots.md",
            )


class _KnownSince:
    """For how long a shard's newest snapshot, and its last failure, have been known."""

    def __init__(self) -> None:
        self._newest: tuple[SnapshotFacts | None, float] | None = None
        self._failed: tuple[int, float] | None = None

    def ages_s(self, status: SnapshotStatus, now: float) -> tuple[float, float]:
        """Return both ages, in s; `now` is the loop's time, which is never set."""
        if self._newest is None or self._newest[0] != status.newest:
            self._newest = status.newest, now
        if self._failed is None or self._failed[0] != status.failed_at_ms:
            self._failed = status.failed_at_ms, now
        return now - self._newest[1], now - self._failed[1]
