"""Follows the logs of this worker's shards, and has the indexer apply their entries.

Each shard has a task (`follow`): it reads the entries after the shard's position, waits for its
turn at the indexer, has them applied, and records the new position in Redis. One indexer serves all
shards, in order of arrival; a shard's next batch is read while the others' batches are applied.

Shards may come and go at any time: `open`, `serve`, `follow` until cancelled, `leave`, `close`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError, WorkError
from hedgerow.common.machine.disk import MB
from hedgerow.common.observability.telemetry import Counters, Throttle
from hedgerow.common.redis.client import RedisClient, pause_s
from hedgerow.common.redis.keys import Keys
from hedgerow.common.runtime.ticks import sleep_to_tick
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.log import (
    MAX_ENTRY_BYTES,
    START,
    Entry,
    ShardLog,
    furthest,
    position,
)
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import run_together
from hedgerow.shard_worker.indexing.batches import Batches
from hedgerow.shard_worker.indexing.field_filling import STEP_DOCUMENTS
from hedgerow.shard_worker.indexing.followed_shard import FollowedShard
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.log_retention import LogRetention, trim_position
from hedgerow.shard_worker.indexing.log_tail import HINT, LogTails
from hedgerow.shard_worker.indexing.set_aside import SetAside
from hedgerow.shard_worker.indexing.set_aside_files import SetAsideFiles
from hedgerow.shard_worker.indexing.shard_report import ShardState, fields_of
from hedgerow.shard_worker.indexing.storage_watch import StorageWatch
from hedgerow.shard_worker.indexing.work_traces import WorkTraces

BLOCK_MS = 2000
BACKLOG_INTERVAL_S = 1.0
MAX_PAUSE_S = 5.0

_log = structlog.get_logger()


async def _at_once(_since: float) -> None:
    """Nothing has to arrive."""


class Applier:
    """Keeps this worker's shards up to date with their logs.

    Attributes:
        states: open shard → what it holds, as the indexer last reported it.
        applied_at: shard → when a batch was last applied to it, in s of the loop's clock.
        backlog: shard → log entries that some replica had not applied when it was last read.
        busy: shards of which entries have been read and not applied yet.
        gaps: shards that have missed a part of their log, and must not be searched.
        behind: shards that have not applied everything that other replicas have announced as
            applied. They must not be searched, since a caller that has waited for a write must
            find it.
        unsure: shards of which that is unknown, see `doubt`; they must not be searched either.
        changing: shards that the worker is taking up or letting go of; nor must these.
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
        self.states: dict[int, ShardState] = {}
        self.applied_at: dict[int, float] = {}
        self.backlog: dict[int, int] = {}
        self.busy: set[int] = set()
        self.gaps: frozenset[int] = frozenset()
        self.behind: frozenset[int] = frozenset()
        self.unsure: frozenset[int] = frozenset()
        self.changing: frozenset[int] = frozenset()
        self._until_heard = until_heard or _at_once
        self._doubted = asyncio.Event()
        self._doubted_at = 0.0
        self._on_withheld = on_withheld
        self._on_restored = on_restored or _ignore
        self._log = ShardLog(control, keys)
        self._primary = control.primary
        self._tails = LogTails(self._log) if self._primary.moves else None
        self._registry = registry
        self._indexer = indexer
        self._on_state = on_state
        self._counters = counters
        self._max_bytes = settings.limits.apply_batch_bytes
        self._reconnect_max_s = settings.redis.reconnect_max_s
        self._turn = asyncio.Lock()
        self._throttle = Throttle(60.0)
        self._followed: dict[int, FollowedShard] = defaultdict(FollowedShard)
        self._snapshot_position = snapshot_position
        self._storage = storage
        self._traces = traces or WorkTraces()
        self._set_aside = SetAsideFiles(
            settings.data, settings.storage.max_set_aside_mb * MB, counters
        )
        self._batches = Batches(indexer, SetAside(self._set_aside, counters), storage)

    async def open(self, shard: int) -> None:
        """Open a shard, and learn what it holds; `serve` follows.

        Raises:
            WorkError: its store cannot be opened.
            RedisUnavailableError: there is no answer about its log.
        """
        self.changing |= {shard}
        state = await self._indexer.open(shard)
        self.backlog.setdefault(shard, 0)
        self._take(state)
        if state.position != START:
            await self._define(shard, only_known=True)
        # Before the first heartbeat: the log keeps entries only for replicas that it knows, and a
        # caller that sees all workers may begin to load.
        await self._log.record_applied(shard, state.replica_id, state.position)
        await self._check_gap(shard)
        await self._check_others(shard)
        await self._check_end(shard)
        if self._snapshot_position(shard) is not None:
            ids = await self._log.ids(shard, self.states[shard].position)
            self._followed[shard].kept = LogRetention(ids)

    def serve(self, shard: int) -> None:
        """Have an open shard searched, unless it is incomplete."""
        self.changing -= {shard}

    def leave(self, shard: int) -> None:
        """Have a shard searched, and maintained, no longer; `close` follows."""
        self.changing |= {shard}

    async def close(self, shard: int) -> None:
        """Close a shard, whose `follow` has ended.

        Raises:
            WorkError: the indexer has failed; the worker has forgotten the shard all the same.
        """
        try:
            await self._indexer.release(shard)
        finally:
            self.states.pop(shard, None)
            self.applied_at.pop(shard, None)
            self.backlog.pop(shard, None)
            self._followed.pop(shard, None)
            if self._tails is not None:
                self._tails.forget(shard)
            self.gaps -= {shard}
            self.behind -= {shard}
            self.unsure -= {shard}
            self.changing -= {shard}

    async def _check_end(self, shard: int) -> None:
        """Have all future writes come after the shard's position, whatever has happened to the log.

        It may have lost its end in a failover, or was restored from a backup, or the server's clock
        is behind. Entries with ids before the position would never be read.
        """
        applied = self.states[shard].position
        if applied == START:
            return
        newest = await self._log.newest(shard)
        if newest != START and position(newest) < position(applied):
            _log.error("log_behind", shard=shard, position=applied, newest=newest)
        elif position(newest) > position(applied) and not await self._log.has_had(shard, applied):
            _log.error("log_end_lost", shard=shard, position=applied, hint=HINT)
        await self._log.continue_after(shard, applied)

    async def run(self) -> None:
        """Watch the logs' lengths, what was set aside, and failovers, until cancelled."""
        parts = [self._watch_backlog(), self._end_doubts(), self._set_aside.watch()]
        if self._tails is not None:
            parts.append(self._follow_primary(self._tails))
        await run_together(*parts)

    def progress(self) -> dict[str, Any]:
        """The heartbeat's fields about shards, except `documents`."""
        # Nobody waits for a replica that is not open yet, or that is leaving.
        states = {
            shard: state
            for shard, state in sorted(self.states.items())
            if shard not in self.changing
        }
        return {
            # With those of which it is not sure: it is within milliseconds of the next heartbeat.
            "shards": [shard for shard in states if shard not in self.gaps | self.behind],
            "gaps": sorted(self.gaps),
            "behind": sorted(self.behind),
            "filled": {
                shard: dict(self._followed[shard].filled)
                for shard in states
                if self._followed[shard].filled
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
        return len(self._followed[shard].kept)

    def trim_again(self, shard: int) -> None:
        """Trim a shard's log though no entry comes: a replica that held it up was forgotten."""
        if shard in self.states:
            self._followed[shard].num_forgotten += 1

    @property
    def withheld(self) -> frozenset[int]:
        """Shards that must not be searched."""
        return self.gaps | self.behind | self.unsure | self.changing

    def doubt(self, shards: Collection[int] | None = None) -> None:
        """Withhold shards until it is certain that they have what other replicas have.

        While this worker sends no heartbeats, or none with these shards, callers that wait for a
        write do not wait for it. It must therefore first be heard, and read what others have
        applied after that.

        Args:
            shards: which; None for all.
        """
        doubted = frozenset(self.states if shards is None else shards) - self.unsure
        if not doubted and self._doubted.is_set():
            return
        self._doubted.set()
        self._doubted_at = asyncio.get_running_loop().time()
        self.unsure |= doubted
        self._on_withheld(self.withheld)

    async def _end_doubts(self) -> None:
        failures = 0
        while True:
            await self._doubted.wait()
            self._doubted.clear()
            try:
                await self._until_heard(self._doubted_at)
                for shard in self.unsure:
                    if shard in self.states:
                        await self._check_others(shard)
            except (RedisUnavailableError, ConfigurationError) as error:
                failures += 1
                self._doubted.set()
                _log.debug("replicas_still_unsure", error=str(error))
                await asyncio.sleep(pause_s(failures, self._reconnect_max_s))
                continue
            failures = 0
            if not self._doubted.is_set():  # otherwise it was silent again meanwhile
                self.unsure = frozenset()
                self._on_withheld(self.withheld)

    async def balance(self, shard: int, uid: str) -> None:
        """Fit a shard's index to the newest term statistics.

        Raises:
            WorkError: the indexer has failed.
        """
        self._take_again(await self._indexer.balance(shard, uid))

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
        self._take_again(finished)
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
        filled = self._followed[shard].filled
        try:
            while finished is None:
                finished = await self._indexer.fill(shard, uid)
                filled[uid] = filled.get(uid, 0) + STEP_DOCUMENTS
        finally:
            filled.pop(uid, None)
        self._take_again(finished)
        return is_needed

    async def _follow_primary(self, tails: LogTails) -> None:
        """After each failover, put back into the logs what they have lost."""
        moved = asyncio.Event()
        unfollow = self._primary.follow(moved.set)
        try:
            while True:
                await moved.wait()
                moved.clear()
                failures = 0
                missing = list(self.states)
                while missing and not moved.is_set():
                    try:
                        await self._restore(missing[0], tails)
                        del missing[0]
                    except (RedisUnavailableError, ConfigurationError, WorkError) as error:
                        failures += 1
                        _log.debug("log_not_restored", shard=missing[0], error=str(error))
                        await self._primary.pause(pause_s(failures, self._reconnect_max_s))
        finally:
            unfollow()

    async def _restore(self, shard: int, tails: LogTails) -> None:
        async with self._turn:  # what is being applied counts, too
            state = self.states.get(shard)
            if state is None:
                return  # it was closed meanwhile
            tail = await tails.restore(shard, state.position)
            if tail.strangers:  # they are newer than all that was applied
                ops = [entry.op for entry in tail.strangers]
                self._take_again(await self._indexer.apply(shard, None, ops))
        state = self.states.get(shard)
        if state is None:
            return
        await self._on_restored(state, [entry.op for entry in tail.restored])
        # Positions and counts may be lost as well.
        if shard in self.states:
            self._followed[shard].announced = None
            await self._log.record_applied(shard, state.replica_id, state.position)

    async def follow(self, shard: int) -> None:
        """Follow an open shard's log until cancelled."""
        failures = 0
        while True:
            try:
                await self._announce(shard)
                after = self.states[shard].position
                if after == START:
                    await self._define(shard)
                version = self._primary.version
                num_checks = self._followed[shard].num_checks
                entries = await self._log.read(shard, after, self._max_bytes, BLOCK_MS)
                await self._check_gap(shard)
                if entries:
                    self.busy.add(shard)
                    try:
                        await self._apply(shard, entries, version)
                    finally:
                        self.busy.discard(shard)
                # The end of the log, unless it was read before others were found to be ahead.
                elif num_checks == self._followed[shard].num_checks:
                    self._set_behind(shard, is_behind=False)
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

    async def _apply(self, shard: int, entries: list[Entry], version: int) -> None:
        """Apply entries that were read when the primary had this version."""
        async with self._turn:
            size = sum(len(entry.op) for entry in entries)
            if size < self._max_bytes:  # more may have come during the others' turns
                entries += await self._log.read(shard, entries[-1].id, self._max_bytes - size)
            if version != self._primary.version:  # the new primary's log may lack them
                raise RedisUnavailableError("Redis has failed over")
            began = asyncio.get_running_loop().time()
            state = await self._batches.apply(shard, entries)
            if self._tails is not None:
                self._tails.add(shard, entries)
        self.applied_at[shard] = now = asyncio.get_running_loop().time()
        self._traces.applied(shard, (entry.trace for entry in entries), now - began)
        if self._snapshot_position(shard) is not None:
            self._followed[shard].kept.add(entry.id for entry in entries)
        self._take(state)
        await self._report_skipped(state)

    def _tell_failed(self, shard: int, error: WorkError, failures: int) -> None:
        """Log that a batch could not be applied; the storage watch reports shortages."""
        if self._storage is not None and self._storage.note(error):
            _log.debug("apply_waits", shard=shard, error=str(error), failures=failures)
        elif self._throttle.allows(f"failed {shard}", asyncio.get_running_loop().time()):
            _log.warning("apply_failed", shard=shard, error=str(error), failures=failures)

    async def _check_gap(self, shard: int) -> None:
        state = self.states[shard]
        missing = await self._log.gap(shard, state.replica_id, state.position)
        if (missing is not None) == (shard in self.gaps):
            return
        if missing is None:
            _log.info("log_gap_closed", shard=shard)
            self.gaps -= {shard}
            self._followed[shard].announced = None
            await self._check_others(shard)
        else:
            _log.error(
                "log_gap",
                shard=shard,
                position=state.position,
                trimmed=missing,
                hint="writes are missing, so the shard is not served; see docs/operations.md",
            )
            self.gaps |= {shard}
        self._on_withheld(self.withheld)

    async def _check_others(self, shard: int) -> None:
        known = self._followed[shard]
        known.furthest = furthest(await self._log.applied(shard))
        known.num_checks += 1
        self._set_behind(shard, is_behind=self._is_before(shard, known.furthest))

    def _is_before(self, shard: int, entry_id: str) -> bool:
        return position(self.states[shard].position) < position(entry_id)

    def _set_behind(self, shard: int, *, is_behind: bool) -> None:
        if is_behind != (shard in self.behind):
            self.behind ^= {shard}
            _log.info("replica_behind" if is_behind else "replica_caught_up", shard=shard)
            self._on_withheld(self.withheld)

    async def _define(self, shard: int, *, only_known: bool = False) -> None:
        """Give a store the collections, or only fields, whose definitions are not in the log.

        If one is dropped after they are read, the log drops it, too.
        """
        held = {report.uid: report.revision for report in self.states[shard].collections}
        found = (await self._registry.collections()).values()
        new = [
            one.to_json()
            for one in found
            if one.revision > held.get(one.uid, one.revision if only_known else -1)
        ]
        if new:
            self._take(await self._indexer.define(shard, new))

    async def _report_skipped(self, state: ShardState) -> None:
        if not state.skipped:
            return
        existing = await self._registry.uids()
        for uid, count in state.skipped.items():
            if uid in existing:
                self._counters.add("writes_skipped", count)
                _log.error("writes_skipped", shard=state.shard, uid=uid, writes=count)

    def _take(self, state: ShardState) -> None:
        self.states[state.shard] = state
        self._on_state(state)

    def _take_again(self, state: ShardState) -> None:
        """Take what an open shard holds now, unless it was closed meanwhile."""
        if state.shard in self.states:
            self._take(state)

    async def _announce(self, shard: int) -> None:
        """Record in Redis what the shard holds and its position, once for each state."""
        state, known = self.states[shard], self._followed[shard]
        before = known.announced
        snapshot = self._snapshot_position(shard)
        trimmed_by = snapshot, known.num_forgotten
        if before is state and trimmed_by == known.trimmed_by:
            return
        counts = {report.uid: report.documents for report in state.collections}
        dropped = {report.uid for report in before.collections} - counts.keys() if before else ()
        # Counts first: a caller that learns that the batch is applied must find it counted. Shards
        # with a gap, whose counts would hide what is missing, and replicas behind others, whose
        # counts are old, record none. At the end of the log all replicas have the same counts.
        if shard not in self.gaps and not self._is_before(
            shard, furthest(await self._log.applied(shard))
        ):
            await self._registry.set_document_counts(shard, counts, dropped)
            if before is None:  # of collections dropped just before an earlier worker ended
                await self._registry.forget_counts(shard, counts)
        applied = await self._log.record_applied(shard, state.replica_id, state.position)
        await self._trim(shard, applied.values(), snapshot)
        # It has got to where the others were a batch ago: under load, some are always ahead.
        if shard in self.behind and not self._is_before(shard, known.furthest):
            self._set_behind(shard, is_behind=False)
        known.furthest = furthest(applied)
        known.announced, known.trimmed_by = state, trimmed_by

    async def _trim(self, shard: int, applied: Collection[str], snapshot: str | None) -> None:
        """Remove the entries that all replicas and the newest snapshot have from the log."""
        upto = trim_position(applied, snapshot)
        kept = None
        if snapshot is not None and (slowest := trim_position(applied, None)):
            retention = self._followed[shard].kept
            if upto is not None:
                retention.trim(upto)
            kept = retention.count(slowest), slowest
        if upto is not None or kept is not None:
            changes = (report.changes for report in self.states[shard].collections)
            has_documents = upto is not None and any(changes)
            await self._log.trim_to(shard, upto or START, has_documents=has_documents, kept=kept)

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


async def _ignore(_state: ShardState, _ops: list[bytes]) -> None:
    """Do nothing: nothing is to be done about restored operations."""
