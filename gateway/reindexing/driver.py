"""Moves the reindex on, in one gateway at a time, by a lease.

If two gateways do so at once, they do no harm: a version of the reindex replaces only the one that
it was decided from, and what is in the shards' logs can be there twice.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from hedgerow.common.errors import WireError
from hedgerow.common.shard_log.entries import position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.operations import CopyNext, MirrorOp, Unmirror, pack_op
from hedgerow.common.splitting.rest import Rest
from hedgerow.common.state.aliases import AliasStore
from hedgerow.common.state.reindexing import Reindex, ReindexState, ReindexStore
from hedgerow.gateway.reindexing.carried_settings import CarriedSettings
from hedgerow.gateway.reindexing.pace import MOST_BYTES, Pace, one_per_host
from hedgerow.gateway.reindexing.policy import (
    Seen,
    Step,
    give_up,
    next_step,
    noted,
    switched,
)
from hedgerow.gateway.reindexing.progress import Progress
from hedgerow.gateway.reindexing.view import ReindexView
from hedgerow.gateway.views.freshness import keep_fresh
from hedgerow.gateway.writes.ranked_loads import RankedLoads

LOOK_S: Final = 1.0  # longest time between two looks: an announcement may be lost
POLL_S: Final = 0.25
APPLIED_POLL_S: Final = 0.05
LEASE_S: Final = 10.0
APPEND_AGAIN_S: Final = 5.0
LONGEST_TURN_S: Final = 5.0  # a replica that does not apply does not keep others from copying
ORPHANS_AFTER_S: Final = 10.0
NOT_APPLIED: Final = "a document cannot be indexed by the new definition: the indexer crashes on it"

_log = structlog.get_logger()


class ReindexDriver:
    """Knows the last reindex, and moves it on while this gateway has the lease.

    Attributes:
        reindex: the last one; None if there was none, or before it was read.
    """

    def __init__(
        self,
        store: ReindexStore,
        view: ReindexView,
        log: ShardLog,
        aliases: AliasStore,
        ranked: RankedLoads,
        settings: CarriedSettings,
        gateway_id: str,
        share: float,
    ) -> None:
        """Drive the reindexes of a cluster.

        Args:
            store: keeps the reindex in Redis.
            view: sees how far it is.
            log: the shards' logs.
            aliases: where the alias is changed.
            ranked: waits until documents count in the ranking.
            settings: what the new collection gets beside the documents.
            gateway_id: of this gateway.
            share: part of the time for which copies are indexed.
        """
        self.reindex: Reindex | None = None
        self._store = store
        self._view = view
        self._log = log
        self._aliases = aliases
        self._ranked = ranked
        self._settings = settings
        self._gateway_id = gateway_id
        self._share = share
        self._changed = asyncio.Event()
        self._memory = _Memory("")
        self._orphans_since: dict[str, float] = {}
        self._held_at = 0.0

    def wake(self) -> None:
        """A change was announced: look at once."""
        self._changed.set()

    async def run(self) -> None:
        """Run until cancelled; while Redis is unavailable, nothing goes on."""
        await keep_fresh("reindex", self._look, self._changed, LOOK_S)

    async def see(self, reindex: Reindex) -> Seen:
        """What this gateway sees of a reindex."""
        return (await self._view.look(reindex))._replace(
            is_ranked=reindex.id in self._memory.ranked,
            is_unmirrored=reindex.id in self._memory.unmirrored,
        )

    def progress(self) -> Progress | None:
        """How far the reindex in progress is, without asking Redis; None if there is none."""
        reindex = self.reindex
        if reindex is None or not reindex.is_running:
            return None
        return Progress.of(self._view.reports(reindex))

    async def _look(self) -> None:
        await self._read()
        if self.reindex is None or not self.reindex.is_running:
            await self._end_orphans()
            return
        while (reindex := self.reindex) is not None and reindex.is_running:
            if not await self._hold_lease():
                return
            if self._memory.reindex != reindex.id:
                self._memory = _Memory(reindex.id)
            is_changed = await self._step(reindex)
            if reindex.state is ReindexState.SWITCHED:
                return
            if not is_changed:
                await asyncio.sleep(POLL_S)
            await self._read()

    async def _read(self) -> None:
        try:
            self.reindex = await self._store.read()
        except WireError as error:  # of a newer version, whose gateways move it on
            _log.debug("reindex_unreadable", reason=str(error))
            self.reindex = None

    async def _step(self, reindex: Reindex) -> bool:
        """Take the next step; returns whether the next one may follow at once."""
        carried = await self._settings.carried(reindex)
        if carried != reindex:
            await self._store.write(noted(carried), reindex.version)
            return True
        seen = await self.see(reindex)
        step = next_step(reindex, seen, await self._store.now_ms())
        if step.waits_for != self._memory.waits_for:
            self._memory.waits_for = step.waits_for
            _log.info("reindex_waits", state=reindex.state.value, waits_for=step.waits_for)
        if step.ops:
            await self._append(step.ops)
        elif step.copy:
            await self._copy(reindex, step)
            return True
        elif step.rank:
            await self._ranked.wait(reindex.new_uid, self._applied_ends(), None)
            self._memory.ranked.add(reindex.id)
            return True
        following = step.next
        if step.switch:
            following = await self._switch(reindex, seen.alias_of)
        if following is None:
            return False
        if await self._store.write(following, reindex.version):
            _log.info("reindex_goes_on", state=following.state.value, error=following.error)
        return True

    async def _switch(self, reindex: Reindex, before: str) -> Reindex:
        carried = await self._settings.with_expiry(reindex)
        if await self._aliases.switch(reindex.alias, before, reindex.new):
            return switched(carried, await self._store.now_ms())
        return give_up(reindex, f"the alias {reindex.alias} was changed meanwhile")

    async def _append(self, ops: Mapping[int, MirrorOp]) -> None:
        """Append operations, each once in a while until the workers report them."""
        now = asyncio.get_running_loop().time()
        due = [(shard, op) for shard, op in ops.items() if self._memory.is_due(shard, op, now)]
        if not due:
            return
        await self._log.append_many([(shard, pack_op(op)) for shard, op in due])
        self._memory.note(due, now)
        if all(isinstance(op, Unmirror) for op in ops.values()):
            self._memory.unmirrored.add(next(iter(ops.values())).mirror)

    async def _copy(self, reindex: Reindex, step: Step) -> None:
        """Copy some documents, wait until they are applied, and rest."""
        memory, loop = self._memory, asyncio.get_running_loop()
        if (failed := self._not_applied(reindex)) is not None:
            await self._store.write(give_up(reindex, failed), reindex.version)
            return
        shards = list(step.copy)
        if self._share < 1.0:
            shards = one_per_host(shards, self._hosts())
        began = loop.time()
        numbers = {shard: self._next_number(reindex, shard) for shard in shards}
        appended = await self._log.append_many(
            [
                (shard, pack_op(CopyNext(reindex.id, number, memory.pace.of(shard), MOST_BYTES)))
                for shard, number in numbers.items()
            ]
        )
        for shard, one in zip(shards, appended, strict=True):
            memory.sent[shard] = numbers[shard], one.id
        while not await self._is_applied(shards) and loop.time() - began < LONGEST_TURN_S:
            await self._pause()
        memory.pace.adapt(loop.time() - began)
        rest, is_urgent = Rest.after(began, loop.time(), self._share), self._share == 1.0
        while not rest.is_over(loop.time(), is_busy=self._is_busy(), is_urgent=is_urgent):
            await self._pause()

    async def _pause(self) -> None:
        """Wait a little, and keep the lease: a rest may be longer than it."""
        await asyncio.sleep(APPLIED_POLL_S)
        if asyncio.get_running_loop().time() - self._held_at > LEASE_S / 3:
            await self._hold_lease()

    async def _hold_lease(self) -> bool:
        self._held_at = asyncio.get_running_loop().time()
        return await self._store.hold_lease(self._gateway_id, LEASE_S)

    def _not_applied(self, reindex: Reindex) -> str | None:
        """Copy less of shards whose last step was set aside; returns why if that is impossible."""
        for shard, (number, entry_id) in self._memory.sent.items():
            for beat in self._view.workers.values():
                report = beat.mirrors.get(shard, {}).get(reindex.id)
                applied = beat.applied.get(shard)
                is_passed = applied is not None and position(applied) >= position(entry_id)
                if report and is_passed and report[0] < number and not report[1]:
                    del self._memory.sent[shard]
                    return (
                        None if self._memory.pace.halve(shard) else f"shard {shard}: {NOT_APPLIED}"
                    )
        return None

    def _next_number(self, reindex: Reindex, shard: int) -> int:
        reported: list[int] = [
            report[0]
            for beat in self._view.workers.values()
            if (report := beat.mirrors.get(shard, {}).get(reindex.id))
        ]
        return max([*reported, self._memory.sent.get(shard, (0, ""))[0]]) + 1

    async def _is_applied(self, shards: list[int]) -> bool:
        """Whether all live replicas have applied what was sent to these shards."""
        applied = await self._log.applied_of(shards)
        return all(
            position(applied[shard].get(beat.replicas[shard], "0-0"))
            >= position(self._memory.sent[shard][1])
            for shard in shards
            for beat in self._view.workers.values()
            if shard in beat.replicas and shard not in beat.gaps
        )

    def _hosts(self) -> dict[int, set[str]]:
        hosts: dict[int, set[str]] = {}
        for beat in self._view.workers.values():
            for shard in beat.replicas:
                hosts.setdefault(shard, set()).add(beat.host)
        return hosts

    def _is_busy(self) -> bool:
        """Whether searches wait for a scorer at some worker."""
        return any(
            beat.lanes.get("process", {}).get("waiting") for beat in self._view.workers.values()
        )

    def _applied_ends(self) -> dict[int, str]:
        ends: dict[int, str] = {}
        for beat in self._view.workers.values():
            for shard, applied in beat.applied.items():
                ends[shard] = max(ends.get(shard, "0-0"), applied, key=position)
        return ends

    async def _end_orphans(self) -> None:
        """End pairs that no reindex knows, since Redis has lost it."""
        now = asyncio.get_running_loop().time()
        known = {} if self.reindex is None else {self.reindex.id: self.reindex.is_running}
        orphans = {
            (shard, mirror)
            for beat in self._view.workers.values()
            for shard, reports in beat.mirrors.items()
            for mirror, report in reports.items()
            if not report[2] and not known.get(mirror, False)
        }
        mirrors = {mirror for _, mirror in orphans}
        self._orphans_since = {one: self._orphans_since.get(one, now) for one in mirrors}
        due = [
            (shard, mirror)
            for shard, mirror in sorted(orphans)
            if now - self._orphans_since[mirror] >= ORPHANS_AFTER_S
        ]
        if due and await self._hold_lease():
            _log.warning("reindex_unknown", mirrors=sorted({mirror for _, mirror in due}))
            await self._log.append_many([(one, pack_op(Unmirror(mirror))) for one, mirror in due])
            self._orphans_since = {}


class _Memory:
    """What a gateway remembers of the reindex that it moves on; all of it can be found out again.

    Attributes:
        reindex: its id.
        pace: of its copies.
        sent: shard → number of the last step of the copy, and the id of its entry.
        waits_for: what it waited for last.
        ranked: its id, once its documents count in the ranking.
        unmirrored: its id, once all logs say that it has ended.
    """

    def __init__(self, reindex: str) -> None:
        self.reindex = reindex
        self.pace = Pace()
        self.sent: dict[int, tuple[int, str]] = {}
        self.waits_for = ""
        self.ranked: set[str] = set()
        self.unmirrored: set[str] = set()
        self._appended: dict[tuple[int, type[MirrorOp]], float] = {}

    def is_due(self, shard: int, op: MirrorOp, now: float) -> bool:
        """Whether to append an operation now."""
        at = self._appended.get((shard, type(op)))
        return at is None or now - at >= APPEND_AGAIN_S

    def note(self, ops: list[tuple[int, MirrorOp]], now: float) -> None:
        """Operations were appended."""
        for shard, op in ops:
            self._appended[shard, type(op)] = now
