"""The part of a worker that writes: it applies the logs and maintains the indexes."""

from collections.abc import Awaitable, Callable, Coroutine

from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.registry import Registry
from hedgerow.shard_worker.context import Context
from hedgerow.shard_worker.control.jobs import Jobs
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.field_filler import FieldFiller
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.optimiser import Optimiser
from hedgerow.shard_worker.indexing.shard_report import ShardState
from hedgerow.shard_worker.indexing.storage_watch import StorageWatch
from hedgerow.shard_worker.indexing.work_traces import WorkTraces
from hedgerow.shard_worker.snapshots.recovery import lost_shards, restore_shards, revive_definitions
from hedgerow.shard_worker.snapshots.shard_snapshots import Snapshots


class Writing:
    """Applies the logs of a worker's shards, and runs its jobs, snapshots and optimising.

    Attributes:
        storage: watches for shortages of disk and memory.
        applier: applies the logs.
        snapshots: the snapshots of the worker's shards.
        jobs: the worker's share of the control plane's jobs.
    """

    def __init__(
        self,
        context: Context,
        indexer_lane: ProcessLane,
        on_state: Callable[[ShardState], None],
        on_withheld: Callable[[], None],
        beat_soon: Callable[[], None],
        beat: Callable[[], Awaitable[None]],
        until_heard: Callable[[float], Awaitable[None]],
    ) -> None:
        """Wire the parts; `open` opens the shards.

        Args:
            context: the worker.
            indexer_lane: the one process that writes.
            on_state: called with what a shard holds whenever that changes.
            on_withheld: called when the set of shards that must not be searched has changed.
            beat_soon: has a heartbeat sent soon.
            beat: has a heartbeat sent, and returns when it has been.
            until_heard: returns when a heartbeat of that instant or later has arrived.

        Raises:
            ConfigurationError: there is no driver for `snapshots.url`.
        """
        settings, shards = context.settings, context.shards
        control, keys = context.control, context.keys
        self._context = context
        self._registry = Registry(control, keys)
        indexer = IndexerClient(indexer_lane)
        traces = WorkTraces(context.tracing)
        self.storage = StorageWatch(
            settings.data,
            settings.storage,
            now_ms=context.server_ms,
            on_change=beat_soon,
            owed_bytes=self._owed_bytes,
        )
        self.applier = Applier(
            control,
            keys,
            self._registry,
            indexer,
            shards,
            settings,
            on_state=on_state,
            counters=context.counters,
            on_withheld=lambda _shards: on_withheld(),
            snapshot_position=self._snapshot_position,
            storage=self.storage,
            traces=traces,
            until_heard=until_heard,
        )
        self.snapshots = Snapshots(control, keys, self.applier, indexer, shards, settings)
        self.jobs = Jobs(
            control=control,
            keys=keys,
            applier=self.applier,
            indexer=indexer,
            shards=shards,
            settings=settings,
            snapshots=self.snapshots,
            has_disk=self.storage.has_disk,
            traces=traces,
        )
        self._filler = FieldFiller(
            applier=self.applier,
            tell=beat,
            has_disk=self.storage.has_disk,
            max_pause_s=settings.redis.reconnect_max_s,
        )
        self._optimiser = Optimiser(
            control=control,
            keys=keys,
            applier=self.applier,
            settings=settings,
            beat=beat,
            has_disk=self.storage.has_disk,
        )

    async def open(self) -> None:
        """Open the shards; restore empty ones from snapshots first.

        Raises:
            WorkError: a store cannot be opened.
            SnapshotError: a snapshot cannot be read.
            RedisUnavailableError: Redis does not answer.
        """
        context, log = self._context, ShardLog(self._context.control, self._context.keys)
        if self.snapshots.store is not None:
            await self.snapshots.open()
            await restore_shards(
                log,
                self.snapshots.store,
                self.snapshots.threads,
                context.shards,
                context.num_shards,
                context.settings,
            )
        lost = await lost_shards(log, context.shards)
        await self.applier.open()
        states = [self.applier.states[shard] for shard in sorted(lost)]
        await revive_definitions(self._registry, states, context.num_shards)

    def parts(self) -> dict[str, Coroutine[None, None, None]]:
        """Name of a task → its coroutine, which runs until cancelled."""
        return {
            "applier": self.applier.run(),
            "jobs": self.jobs.run(),
            "optimiser": self._optimiser.run(),
            "field_filler": self._filler.run(),
        }

    def _owed_bytes(self) -> int:
        return self.applier.owed_bytes()

    def _snapshot_position(self, shard: int) -> str | None:
        return self.snapshots.position(shard)
