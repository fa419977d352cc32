"""Follows the logs of this worker's shards, and has the indexer apply their entries.

Each shard has a task (`follow`): it reads the entries after the shard's position, waits for its
turn at the indexer, has them applied, and records the new position in Redis. One indexer serves all
shards, in order of arrival; a shard's next batch is read while the others' batches are applied.

Shards may come and go at any time: `open`, `serve`, `follow` until cancelled, `leave`, `close`.

Beside this main path, `WithheldShards` knows which shards must not be searched, `Announcer` records
positions and counts in Redis and trims the logs, `LogEnds` restores what a failover has lost, and
`RegisteredCollections` defines collections that the log lacks. They share `OpenShards`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError, WorkError
from hedgerow.common.machine.disk import MB
from hedgerow.common.observability.telemetry import Counters, Throttle
from hedgerow.common.redis.client import RedisClient, pause_s
from hedgerow.common.redis.keys import Keys
from hedgerow.common.runtime.ticks import sleep_to_tick
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.entries import START, Entry
from hedgerow.common.shard_log.log import MAX_ENTRY_BYTES, ShardLog
from hedgerow.common.shard_log.set_aside_notes import SetAsideNotes
from hedgerow.common.state.judgements import JudgementStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import run_together
from hedgerow.shard_worker.indexing.announcer import Announcer
from hedgerow.shard_worker.indexing.batch_cuts import cut
from hedgerow.shard_worker.indexing.batches import Batches
from hedgerow.shard_worker.indexing.field_filling import STEP_DOCUMENTS
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.log_ends import LogEnds
from hedgerow.shard_worker.indexing.open_shards import OpenShards
from hedgerow.shard_worker.indexing.registered_collections import RegisteredCollections
from hedgerow.shard_worker.indexing.set_aside import SetAside
from hedgerow.shard_worker.indexing.set_aside_files import SetAsideFiles
from hedgerow.shard_worker.indexing.shard_report import ShardState, fields_of
from hedgerow.shard_worker.indexing.storage_watch import StorageWatch
from hedgerow.shard_worker.indexing.withheld_shards import WithheldShards
from hedgerow.shard_worker.indexing.work_traces import WorkTraces

BLOCK_MS = 2000
BACKLOG_INTERVAL_S = 1.0
MAX_PAUSE_S = 5.0

_log = structlog.get_logger()


class Applier:
    """Keeps this worker's shards up to date with their logs.

    Attributes:
        states: open shard → what it holds, as the indexer last reported it.
        applied_at: shard → when a batch was last applied to it, in s of the loop's clock.
        backlog: shard → log entries that some replica had not applied when it was last read.
        busy: shards of which entries have been read and not applied yet.
    """

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        registry: Registry,
        indexer: IndexerClient,
        settings: Settings,
        on_state: Callable[[ShardState], None],
        counters: Counters,
        on_withheld: Callable[[frozenset[int]], None] = lambda _shards: None,
        snapshot_position: Callable[[int], str | None] = lambda _shard: None,
        storage: StorageWatch | None = None,
        traces: WorkTraces | None = None,
        on_restored: Callable[[ShardState, list[bytes]], Awaitable[None]] | None = None,
        until_heard: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        """Apply through `indexer` to shards that `open` opens.

        Args:
            control: Redis.
            keys: the names of everything in Redis.
            registry: where the document counts go.
            indexer: writes to the shards.
            settings: limits.apply_batch_bytes and redis.reconnect_max_s apply.
            on_state: called with what a shard holds whenever that changes, before the callers that
                wait for the change.
            counters: `writes_skipped` counts writes to a collection that the shard lacks, but
                should have.
            on_withheld: called with the shards that must not be searched whenever one has become
                complete, or no longer is.
            snapshot_position: shard → up to which position of its log the newest snapshot goes,
                `START` if there is none yet; None if no snapshots are made.
            storage: learns each failure of the indexer, and knows whether a shortage of disk or
                memory was the cause.
            traces: notes each batch that was applied.
            on_restored: called after a failover with a shard's state, and the operations that were
                put back into its log.
            until_heard: returns when a heartbeat that was composed at that instant of the loop's
                clock, or later, has arrived; None if there are no heartbeats.
        """
        self._log = log = ShardLog(control, keys)
        self._indexer = indexer
        self._max_bytes = settings.limits.apply_batch_bytes
        self._reconnect_max_s = max_pause_s = settings.redis.reconnect_max_s
        self._turn = asyncio.Lock()
        self._throttle = Throttle(60.0)
        self._storage = storage
        self._traces = traces or WorkTraces()
        self._set_aside = SetAsideFiles(
            settings.data, settings.storage.max_set_aside_mb * MB, counters
        )
        self._batches = Batches(
            indexer, SetAside(self._set_aside, counters, SetAsideNotes(control, keys).add), storage
        )
        self._shards = shards = OpenShards(on_state)
        self._collections = RegisteredCollections(registry, indexer, shards, counters)
        self._withheld = WithheldShards(log, shards, on_withheld, until_heard, max_pause_s)
        self._announcer = Announcer(
            log,
            registry,
            JudgementStore(control, keys),
            shards,
            self._withheld,
            snapshot_position,
        )
        self._ends = LogEnds(
            log,
            shards,
            indexer,
            turn=self._turn,
            on_restored=on_restored,
            max_pause_s=max_pause_s,
        )
        self.states = shards.states
        self.applied_at: dict[int, float] = {}
        self.backlog: dict[int, int] = {}
        self.busy: set[int] = set()

    async def open(self, shard: int, *, is_lost: bool = False) -> None:
        """Open a shard, and learn what it holds; `serve` follows.

        Args:
            shard: the shard.
            is_lost: whether Redis knows nothing of it: it is new, or has lost its data.

        Raises:
            WorkError: its store cannot be opened.
            RedisUnavailableError: there is no answer about its log.
        """
        self._withheld.changing |= {shard}
        state = await self._indexer.open(shard)
        self.backlog.setdefault(shard, 0)
        self._shards.take(state)
        if state.position != START:
            await self._collections.define(shard, only_known=True)
        # Before the first heartbeat: the log keeps entries only for replicas that it knows, and a
        # caller that sees all workers may begin to load.
        await self._announcer.report(shard)
        await self._log.record_applied(shard, state.replica_id, state.position)
        await self._withheld.check_gap(shard)
        await self._withheld.check_others(shard)
        await self._ends.check(shard, is_lost=is_lost)
        await self._announcer.open(shard)

    def serve(self, shard: int) -> None:
        """Have an open shard searched, unless it is incomplete."""
        self._withheld.changing -= {shard}

    async def follow(self, shard: int) -> None:
        """Follow an open shard's log until cancelled."""
        failures = 0
        while True:
            try:
                await self._advance(shard)
                failures = 0
            except RedisUnavailableError as error:
                failures += 1
                _log.debug("log_unreachable", shard=shard, error=str(error))
                await asyncio.sleep(pause_s(failures, self._reconnect_max_s))
            except ConfigurationError as error:
                failures += 1
                self._tell_refused("log_refused", error, shard=shard)
                await asyncio.sleep(pause_s(failures, MAX_PAUSE_S))
            except WorkError as error:
                failures += 1
                self._tell_failed(shard, error, failures)
                await asyncio.sleep(pause_s(failures, MAX_PAUSE_S))

    async def _advance(self, shard: int) -> None:
        """Announce what a shard has, and apply what comes next in its log, if it comes soon."""
        await self._announcer.announce(shard)
        after = self.states[shard].position
        if after == START:
            await self._collections.define(shard)
        version = self._log.primary(shard).version
        num_checks = self._shards.followed[shard].num_checks
        entries = await self._log.read(shard, after, self._max_bytes, BLOCK_MS)
        await self._withheld.check_gap(shard)
        if not entries:
            self._withheld.note_end(shard, num_checks)
            return
        self.busy.add(shard)
        try:
            await self._apply(shard, entries, version)
        finally:
            self.busy.discard(shard)

    async def _apply(self, shard: int, entries: list[Entry], version: int) -> None:
        """Apply entries that were read when the primary had this version."""
        async with self._turn:
            size = sum(len(entry.op) for entry in entries)
            if size < self._max_bytes:  # more may have come during the others' turns
                entries += await self._log.read(shard, entries[-1].id, self._max_bytes - size)
            if version != self._log.primary(shard).version:  # the new primary's log may lack them
                raise RedisUnavailableError("Redis has failed over")
            began = asyncio.get_running_loop().time()
            states = [
                await self._apply_batch(shard, batch)
                for batch in cut(entries, is_mirrored=bool(self.states[shard].mirrors))
            ]
        self.applied_at[shard] = now = asyncio.get_running_loop().time()
        self._traces.applied(shard, (entry.trace for entry in entries), now - began)
        for state in states:
            await self._collections.report_skipped(state)

    async def _apply_batch(self, shard: int, entries: Sequence[Entry]) -> ShardState:
        state = await self._batches.apply(shard, entries)
        self._ends.add(shard, entries)
        self._announcer.add(shard, entries)
        self._shards.take(state)
        return state

    def leave(self, shard: int) -> None:
        """Have a shard searched, and maintained, no longer; `close` follows."""
        self._withheld.changing |= {shard}

    async def close(self, shard: int) -> None:
        """Close a shard, whose `follow` has ended.

        Raises:
            WorkError: the indexer has failed; the worker has forgotten the shard all the same.
        """
        try:
            await self._indexer.release(shard)
        finally:
            self.applied_at.pop(shard, None)
            self.backlog.pop(shard, None)
            self._shards.forget(shard)
            self._withheld.forget(shard)
            self._ends.forget(shard)

    async def run(self) -> None:
        """Watch the logs' lengths, what was set aside, and failovers, until cancelled."""
        await run_together(
            self._watch_backlog(),
            self._withheld.end_doubts(),
            self._ends.run(),
            self._set_aside.watch(),
        )

    def progress(self) -> dict[str, Any]:
        """The heartbeat's fields about shards, except `documents`."""
        # Writes do not wait for a replica that is not open yet, or that is leaving.
        states = {
            shard: state
            for shard, state in sorted(self.states.items())
            if shard not in self._withheld.changing
        }
        return {
            # With those of which it is not sure: it is within milliseconds of the next heartbeat.
            "shards": [shard for shard in states if shard not in self.gaps | self.behind],
            "gaps": sorted(self.gaps),
            "behind": sorted(self.behind),
            "filled": {
                shard: dict(self._shards.followed[shard].filled)
                for shard in states
                if self._shards.followed[shard].filled
            },
            "log_backlog": dict(self.backlog),
            "set_aside": self._set_aside.to_json(),
            **fields_of(states),
        }

    def owed_bytes(self) -> int:
        """Most bytes that the backlog may take on disk, in stores and text indexes together."""
        return 2 * MAX_ENTRY_BYTES * sum(self.backlog.values())

    def kept(self, shard: int) -> int:
        """How many applied entries stay in the log until a snapshot contains them."""
        return len(self._shards.followed[shard].kept)

    def trim_again(self, shard: int) -> None:
        """Trim a shard's log though no entry comes: a replica that held it up was forgotten."""
        if shard in self.states:
            self._shards.followed[shard].num_forgotten += 1

    @property
    def withheld(self) -> frozenset[int]:
        """Shards that must not be searched."""
        return self._withheld.all

    @property
    def gaps(self) -> frozenset[int]:
        """Shards that have missed a part of their log."""
        return self._withheld.gaps

    @property
    def behind(self) -> frozenset[int]:
        """Shards that lack what other replicas have announced as applied."""
        return self._withheld.behind

    @property
    def unsure(self) -> frozenset[int]:
        """Shards of which that is unknown, see `doubt`."""
        return self._withheld.unsure

    def doubt(self, shards: Collection[int] | None = None) -> None:
        """Withhold shards (None for all) until they have what others have; see `WithheldShards`."""
        self._withheld.doubt(shards)

    async def balance(self, shard: int, uid: str) -> None:
        """Fit a shard's index to the newest term statistics.

        Raises:
            WorkError: the indexer has failed.
        """
        self._shards.take_again(await self._indexer.balance(shard, uid))

    async def optimise(self, shard: int, uid: str) -> bool:
        """Rewrite a collection's index on a shard, in few segments.

        Batches of the log are applied between its steps; one that changes the collection ends it.

        Returns:
            Whether there was anything to do; if not, the shard has no documents of the collection.

        Raises:
            WorkError: the indexer has failed, or a write has ended it; the index is unchanged.
        """
        finished = await self._indexer.begin_optimising(shard, uid)
        is_needed = finished is None
        while finished is None:
            finished = await self._indexer.optimise(shard, uid)
        self._shards.take_again(finished)
        return is_needed

    async def fill(self, shard: int, uid: str) -> bool:
        """Have a collection's index on a shard replaced by one that has all of its fields.

        Batches of the log are applied between its steps, to both indexes.

        Args:
            shard: the shard.
            uid: the collection's.

        Returns:
            Whether there was anything to do.

        Raises:
            WorkError: the indexer could not, or fields were added meanwhile. The index is as it
                was.
        """
        finished = await self._indexer.begin_filling(shard, uid)
        is_needed = finished is None
        filled = self._shards.followed[shard].filled
        try:
            while finished is None:
                finished = await self._indexer.fill(shard, uid)
                filled[uid] = filled.get(uid, 0) + STEP_DOCUMENTS
        finally:
            filled.pop(uid, None)
        self._shards.take_again(finished)
        return is_needed

    async def build_graphs(self, shard: int, uid: str, *, is_quiet: bool) -> None:
        """Have the graphs built that a collection's vectors on a shard need.

        Batches of the log are applied between its steps.

        Args:
            shard: the shard.
            uid: the collection's.
            is_quiet: whether its documents have not been written for a while.

        Raises:
            WorkError: the indexer could not, or the index was replaced meanwhile.
        """
        finished = await self._indexer.begin_graphs(shard, uid, is_quiet=is_quiet)
        while finished is None:
            finished = await self._indexer.build_graphs(shard, uid)
        self._shards.take_again(finished)

    def _tell_failed(self, shard: int, error: WorkError, failures: int) -> None:
        """Log that a batch could not be applied; the storage watch reports shortages."""
        if self._storage is not None and self._storage.note(error):
            _log.debug("apply_waits", shard=shard, error=str(error), failures=failures)
        elif self._throttle.allows(f"failed {shard}", asyncio.get_running_loop().time()):
            _log.warning("apply_failed", shard=shard, error=str(error), failures=failures)

    def _tell_refused(self, event: str, error: ConfigurationError, **where: int) -> None:
        if self._throttle.allows(f"{event} {where}", asyncio.get_running_loop().time()):
            _log.error(event, error=str(error), **where)

    async def _watch_backlog(self) -> None:
        while True:
            try:
                lengths = await self._log.lengths(list(self.states))
                self.backlog = {shard: lengths.get(shard, 0) for shard in self.states}
            except RedisUnavailableError as error:
                _log.debug("backlog_unknown", error=str(error))
            except ConfigurationError as error:
                self._tell_refused("backlog_refused", error)
            await sleep_to_tick(BACKLOG_INTERVAL_S)
