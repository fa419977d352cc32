"""The part of a worker that writes: it applies the logs and maintains the indexes."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

import structlog

from hedgerow.common.collection import Collection
from hedgerow.common.errors import SnapshotError, WireError
from hedgerow.common.fields.embedding_counts import EmbeddingCounts
from hedgerow.common.shard_log.entries import START
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.operations import Create, unpack_op
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.summaries import SummaryStore
from hedgerow.shard_worker.context import Context
from hedgerow.shard_worker.control.jobs import Jobs
from hedgerow.shard_worker.embedding.account import EmbeddingAccount
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.background_thread import Priority
from hedgerow.shard_worker.indexing.field_filler import FieldFiller
from hedgerow.shard_worker.indexing.graph_keeper import GraphKeeper
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.optimiser import Optimiser
from hedgerow.shard_worker.indexing.shard_report import ShardState
from hedgerow.shard_worker.indexing.storage_watch import StorageWatch
from hedgerow.shard_worker.indexing.summaries import SummarisedShards, SummaryMaker
from hedgerow.shard_worker.indexing.summary_turns import SummaryTurns
from hedgerow.shard_worker.indexing.work_traces import WorkTraces
from hedgerow.shard_worker.snapshots.lost_registry import LostRegistry
from hedgerow.shard_worker.snapshots.recovery import (
    check_not_split,
    lost_shards,
    restore_if_needed,
    revive_definitions,
)
from hedgerow.shard_worker.snapshots.restore_pace import RestorePace
from hedgerow.shard_worker.snapshots.shard_snapshots import Snapshots

log = structlog.get_logger()


class Cloner(Protocol):
    """Makes shards of others in this process (`shard_worker.splitting.cloner`)."""

    @property
    def is_active(self) -> bool:
        """Whether shards are being made."""

    @property
    def has_old(self) -> bool:
        """Whether shards are being made, or those that they are made of are still served here."""

    def upkeep(self) -> Priority:
        """With which priority statistics and summaries are made now."""

    async def fill(self, shard: int, *, may_restore: bool = True) -> bool:
        """Make a shard that is not open, if its log lacks what it lacks; return whether it did.

        If not, and it `may_restore` one, there may be a snapshot of another replica's by then.
        """

    async def check(self, shard: int) -> None:
        """Wait until a shard may be opened; raise WorkError if it must not be."""


class Writing:
    """Applies the logs of a worker's shards, and runs its jobs, snapshots and optimising.

    Attributes:
        indexer: writes to the shards.
        storage: watches for shortages of disk and memory.
        applier: applies the logs.
        cloner: makes shards of others beside them; None unless the shards are of a split's target.
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
        settings, control, keys = context.settings, context.control, context.keys
        self._context = context
        self._registry = Registry(control, keys)
        self._log = ShardLog(control, keys)
        self._summaries = SummaryStore(control, keys)
        self._embedding = EmbeddingAccount()
        self.indexer = indexer = IndexerClient(
            indexer_lane, self._retract, self._on_embedded, self._upkeep
        )
        self.cloner: Cloner | None = None
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
            settings,
            on_state=on_state,
            counters=context.counters,
            on_withheld=lambda _shards: on_withheld(),
            snapshot_position=self._snapshot_position,
            storage=self.storage,
            traces=traces,
            on_restored=self._revive_created,
            until_heard=until_heard,
        )
        self._lost_registry = LostRegistry(
            control, keys, self._registry, self.applier, lambda: context.num_shards
        )
        self.snapshots = Snapshots(control, keys, self.applier, indexer, settings)
        self._pace = RestorePace.of(settings)
        self.jobs = Jobs(
            control=control,
            keys=keys,
            applier=self.applier,
            indexer=indexer,
            settings=settings,
            snapshots=self.snapshots,
            has_disk=self.storage.has_disk,
            traces=traces,
        )
        self._shards = SummarisedShards(
            control,
            keys,
            self.applier,
            indexer,
            settings.worker.summary_bytes,
            is_needed=lambda: self.cloner is None or not self.cloner.has_old,
        )
        self._filler = FieldFiller(
            applier=self.applier,
            tell=beat,
            has_disk=self.storage.has_disk,
            max_pause_s=settings.redis.reconnect_max_s,
        )
        self._graph_keeper = GraphKeeper(
            applier=self.applier,
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

    def embedding(self) -> dict[str, Any]:
        """What the indexer has embedded, for the heartbeat; empty for nothing."""
        return self._embedding.to_json(asyncio.get_running_loop().time())

    def _on_embedded(self, counts: EmbeddingCounts) -> None:
        now = asyncio.get_running_loop().time()
        self._embedding.add(counts, now)
        if self._embedding.takes_note(now):
            share = round(self._embedding.share(now), 2)
            log.warning("writes_wait_for_embedding", worker=self._context.worker_id, share=share)

    async def open(self, shard: int) -> None:
        """Open a shard; if it is empty here, clone it or restore it from a snapshot first.

        Raises:
            WorkError: its store cannot be opened, or it cannot be cloned now.
            SnapshotError: a snapshot cannot be read.
            RedisUnavailableError: Redis does not answer.
        """
        await self._find_snapshots(shard)
        while True:
            is_restored = await self._begin(shard)
            if self.cloner is not None:
                await self.cloner.check(shard)
            await self._open(shard)
            # If the log was trimmed meanwhile, there is a newer snapshot, or another clone to make.
            if shard not in self.applier.gaps or not (is_restored or self._must_clone(shard)):
                break
            await self.close(shard)
        if self._is_filling:
            self.snapshots.make_first_soon(shard)  # other replicas wait for it

    async def close(self, shard: int) -> None:
        """Close a shard, whose log is no longer followed.

        Raises:
            WorkError: the indexer has failed; the worker has forgotten the shard all the same.
        """
        await self.jobs.leave(shard)
        self.snapshots.close(shard)
        self._lost_registry.close(shard)
        await self.applier.close(shard)

    def restorable(self) -> frozenset[int]:
        """Open shards with a gap of which a snapshot was made since they were opened."""
        return frozenset(shard for shard in self.applier.gaps if self.snapshots.has_newer(shard))

    def parts(self) -> dict[str, Coroutine[None, None, None]]:
        """Name of a task → its coroutine, which runs until cancelled."""
        parts = (
            {}
            if not self._context.settings.worker.summary_bytes
            else {"summaries": self._summary_maker().run()}
        )
        return {
            **parts,
            **self._lost_registry.parts(),
            "applier": self.applier.run(),
            "jobs": self.jobs.run(),
            "optimiser": self._optimiser.run(),
            "field_filler": self._filler.run(),
            "graph_keeper": self._graph_keeper.run(),
        }

    def _summary_maker(self) -> SummaryMaker:
        context = self._context
        turns = SummaryTurns(
            context.control,
            context.keys,
            host=context.settings.worker.host_name,
            worker=context.worker_id,
        )
        return SummaryMaker(self._summaries, self._shards, turn=turns.turn)

    async def _begin(self, shard: int) -> bool:
        """Clone or restore a shard that lacks documents; returns whether it was."""
        if await self._clone(shard):
            return True
        try:
            if await self._restore(shard):
                return True
        except SnapshotError:
            # A split goes on without snapshots that cannot be used.
            if not await self._clone(shard, may_restore=False):
                raise
            return True
        return await self._clone(shard, may_restore=False)

    async def _clone(self, shard: int, *, may_restore: bool = True) -> bool:
        return self.cloner is not None and await self.cloner.fill(shard, may_restore=may_restore)

    @property
    def _is_filling(self) -> bool:
        """Whether the shards are of a split's target, and being made."""
        return self.cloner is not None and self.cloner.is_active

    def _upkeep(self) -> Priority:
        """With which priority statistics and summaries are made now."""
        return Priority.NICER if self.cloner is None else self.cloner.upkeep()

    async def _find_snapshots(self, shard: int) -> None:
        try:
            await self.snapshots.open(shard)
        except SnapshotError as error:
            if not self._is_filling:
                raise
            log.warning("snapshots_not_found", shard=shard, error=str(error))

    def _must_clone(self, shard: int) -> bool:
        """Whether an open shard, which has a gap, begins with documents that its log lacks."""
        return self._is_filling and self.applier.states[shard].position == START

    async def _restore(self, shard: int) -> bool:
        context, snapshots = self._context, self.snapshots
        if snapshots.store is None:
            return False
        await check_not_split(context, snapshots.store, snapshots.threads, shard)
        return await restore_if_needed(
            self._log,
            snapshots.store,
            snapshots.threads,
            shard,
            context.num_shards,
            context.settings,
            self._pace,
        )

    async def _open(self, shard: int) -> None:
        lost = await lost_shards(self._log, [shard])
        await self.applier.open(shard, is_lost=shard in lost)
        # They may have been made before a worker of an earlier version wrote to the shard.
        await self._summaries.retract(shard, self._uids(shard))
        states = [self.applier.states[one] for one in lost]
        await revive_definitions(self._registry, states, self._context.num_shards)
        await self._lost_registry.open(shard)

    async def _retract(self, shard: int, uids: set[str], is_mirrored: bool) -> None:
        """Retract the summaries of collections of a shard to which documents are to be added."""
        state = self.applier.states.get(shard)
        if is_mirrored or state is None or state.mirrors:
            # A collection that follows another one was defined by an earlier batch.
            uids = uids | self._uids(shard)
        await self._summaries.retract(shard, uids)

    def _uids(self, shard: int) -> set[str]:
        """The collections of an open shard."""
        state = self.applier.states.get(shard)
        return set() if state is None else {report.uid for report in state.collections}

    async def _revive_created(self, state: ShardState, ops: list[bytes]) -> None:
        """Define collections again whose creation a failover of Redis has lost."""
        created = set()
        for packed in ops:
            with suppress(WireError):  # the indexer has skipped it, too
                op = unpack_op(packed)
                if isinstance(op, Create):
                    created.add(Collection.from_json(op.definition).uid)
        if created:
            reports = [report for report in state.collections if report.uid in created]
            state = state._replace(collections=reports)
            await revive_definitions(self._registry, [state], self._context.num_shards)

    def _owed_bytes(self) -> int:
        return self.applier.owed_bytes()

    def _snapshot_position(self, shard: int) -> str | None:
        return self.snapshots.position(shard)
