"""Moves a split on: observes the cluster, and stores the next version of the layout.

One worker at a time drives, by a lease. Every step compares what should be with what is, so another
worker goes on after a crash at any point; two that drive at once do no harm, since a version of
the layout replaces only the one that it was decided from.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import structlog

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.machine.disk import DiskState
from hedgerow.common.machine.shortage import DISK, Shortage
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.events import Loaded
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.sealing import Sealing
from hedgerow.common.splitting.policy import Seen, elapsed_ms, lag_of, next_step
from hedgerow.common.state.gateways import GatewayHeartbeat, GatewayStore
from hedgerow.common.state.layout import (
    ClusterLayout,
    LayoutStore,
    Split,
    SplitProgress,
    SplitState,
)
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.split_changes import SplitChanges
from hedgerow.common.state.statistics import (
    BULK_SHARE,
    StatisticsStatus,
    StatisticsStore,
    changes_of,
)
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.splitting.copier import held_by, must_copy_documents

LEASE_S: Final = 3.0
COUNT_AGAIN_S: Final = 2.0  # between two requests to count term statistics
COUNTING_S: Final = 6.0  # longest time for which they are waited for
DELETED_AT_ONCE: Final = 500

_log = structlog.get_logger()


class _Copied(NamedTuple):
    """How far the logs of the target are.

    Attributes:
        uncopied: shards of the source whose documents are not all copied.
        lag_ms: by how much the copies are behind, at most.
        newest: the newest id of each log of the target.
    """

    uncopied: list[int]
    lag_ms: int
    newest: list[str]


def is_counted(
    uid: str,
    status: StatisticsStatus,
    counts: Mapping[int, int],
    live: Iterable[Heartbeat],
) -> bool:
    """Whether every worker ranks a collection by statistics that count almost all of it.

    Args:
        uid: the collection's.
        status: of its statistics.
        counts: shard → its documents of the collection.
        live: the workers' heartbeats.
    """
    held = {shard for shard, count in counts.items() if count}
    if not held:
        return True
    if not (status.version and status.is_current and status.labels.keys() >= held):
        return False
    version = status.version.hex()
    return all(
        beat.statistics.get(uid) == version and not _lacks_many(uid, status, counts, beat)
        for beat in live
        if beat.shards
    )


def _lacks_many(
    uid: str, status: StatisticsStatus, counts: Mapping[int, int], beat: Heartbeat
) -> bool:
    """Whether one of a worker's shards has changed much since its statistics were collected."""
    lacking = {
        shard: changes.get(uid, 0) - counted
        for shard, changes in beat.changes.items()
        if (counted := changes_of(status.labels.get(shard), beat.replicas.get(shard, "")))
        is not None
    }
    return any(num > BULK_SHARE * counts.get(shard, 0) for shard, num in lacking.items())


class SplitDriver:
    """Drives the split in progress, if this worker has the lease."""

    def __init__(self, control: RedisClient, keys: Keys, worker: str, expiry_s: float) -> None:
        """Drive for a worker; `expiry_s` is `worker.heartbeat_expiry_s`."""
        self._control = control
        self._keys = keys
        self._worker = worker
        self._expiry_s = expiry_s
        self._store = LayoutStore(control, keys)
        self._gateways = GatewayStore(control, keys)
        self._changes = SplitChanges(control, keys)
        self._registries: dict[int, Registry] = {}  # of layouts; each knows what it read before
        self._waits_for = ""
        self._counted_at: dict[SplitState, float] = {}
        self._uncounted_since: float | None = None
        self._lacked_replicas = False
        self._lent: set[tuple[int, str]] = set()  # layout and collection

    async def step(self, layout: ClusterLayout) -> None:
        """Take one step of the split of this layout, if there is one to take.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        split = layout.split
        if split is None or not await self._store.hold_lease(
            self._keys.split_lease, self._worker, LEASE_S
        ):
            return
        seen = await self._seal_and_look(layout, split)
        step = next_step(layout, seen, await self._control.now_ms())
        if step.waits_for != self._waits_for:
            self._waits_for = step.waits_for
            _log.info("split_waits", state=split.state.value, waits_for=step.waits_for)
        if step.next is None:
            num_copied = split.source.num_shards - len(seen.uncopied)
            await self._store.put_progress(SplitProgress(num_copied, step.waits_for))
            return
        await self._clean_up(split)
        if await self._store.write(step.next, layout.version):
            self._counted_at, self._uncounted_since = {}, None
            _log.info("split_goes_on", version=step.next.version, state=_state_of(step.next))
            if step.next.split is not None:
                await self._keep_sealed(step.next, step.next.split)

    async def _seal_and_look(self, layout: ClusterLayout, split: Split) -> Seen:
        try:
            await self._keep_sealed(layout, split)
            return await self._look(split)
        except RedisUnavailableError as error:
            # One of several servers: writes to the others must not be held back for ever.
            return Seen(failure=str(error))

    async def _keep_sealed(self, layout: ClusterLayout, split: Split) -> None:
        """Seal the source's logs, or open them again, as the state of the split has it."""
        sealing = Sealing(self._control, self._keys.of_layout(split.source.id))
        shards = range(split.source.num_shards)
        if split.state in (SplitState.COPYING, SplitState.ABANDONING):
            await sealing.unseal(shards, layout.version)
            return
        if not layout.takes_writes:
            await self._changes.complete_all()
        await sealing.seal(shards, layout.version)

    async def _look(self, split: Split) -> Seen:
        source = await self._live(split.source.id)
        target = await self._live(split.target.id)
        now_ms = await self._control.now_ms()
        gateways = await self._gateways.live(now_ms)
        copied = await self._copied(split)
        lag_ms = await self._apply_lag_ms(split, target, copied.newest)
        is_copying = split.state is SplitState.COPYING
        most_ms = lag_of(elapsed_ms(split, now_ms)) if is_copying else 0
        is_there = not copied.uncopied and max(copied.lag_ms, lag_ms) <= most_ms
        if is_copying:
            await self._lend_statistics(split)
        unserved = _unserved(source, target, split)
        if unserved:  # statistics are collected of what is there, and not waited for yet
            self._uncounted_since = None
        elif self._lacked_replicas:
            self._counted_at = {}  # what has come last is counted at once
        self._lacked_replicas = bool(unserved)
        return Seen(
            unserved=unserved,
            uncopied=copied.uncopied,
            copy_lag_ms=copied.lag_ms,
            apply_lag_ms=lag_ms,
            is_counted=await self._is_counted(split, target, copied.newest, is_there=is_there),
            other_gateways=[one.id for one in gateways if one.layout != split.target.id],
            gateways_in_source=[one.id for one in gateways if _is_in(one, split.source.id)],
            source_workers=source.keys(),
            target_workers=target.keys(),
            pinned=[worker for worker, beat in source.items() if not beat.joins],
            full_disks={
                beat.id for beat in (*source.values(), *target.values()) if _has_full_disk(beat)
            },
        )

    async def _live(self, layout: int) -> dict[str, Heartbeat]:
        if layout not in self._registries:
            self._registries[layout] = Registry(self._control, self._keys.of_layout(layout))
        return await self._registries[layout].live_heartbeats(self._expiry_s)

    async def _copied(self, split: Split) -> _Copied:
        """How far the logs of the target are copied."""
        old = self._keys.of_layout(split.source.id)
        new = self._keys.of_layout(split.target.id)
        shards, num_old = range(split.target.num_shards), split.source.num_shards
        sealing, copies = Sealing(self._control, old), Sealing(self._control, new)
        if split.state is SplitState.SWITCHED:  # the source is about to be given up
            await copies.confirm(shards)
        newest = await copies.last_ids(shards)  # before the ends of the source: they only grow
        ends = await sealing.ends(range(num_old))
        trimmed = await sealing.trimmed(range(num_old))
        uncopied = sorted(
            {
                shard % num_old
                for shard in shards
                if must_copy_documents(newest[shard], trimmed[shard % num_old])
            }
        )
        lag_ms = max(_lag_ms(newest[shard], ends[shard % num_old]) for shard in shards)
        return _Copied(uncopied, lag_ms, newest)

    async def _apply_lag_ms(
        self, split: Split, live: Mapping[str, Heartbeat], newest: list[str]
    ) -> int:
        log = ShardLog(self._control, self._keys.of_layout(split.target.id))
        applied = await log.applied_of(range(split.target.num_shards))
        return max(
            (
                _lag_ms(applied[shard].get(beat.replicas.get(shard, ""), START), newest[shard])
                for beat in live.values()
                for shard in beat.shards
                if shard < split.target.num_shards
            ),
            default=0,
        )

    async def _lend_statistics(self, split: Split) -> None:
        """Have the new shards begin with the term statistics of the old ones.

        They have the same documents, so that their own sum will be about the same. A new shard is
        then fitted to it when it is taken up, one after the other, and its snapshot is so, too. At
        the end, when writes are about to be held back, little is left to be fitted.
        """
        old = StatisticsStore(self._control, self._keys.of_layout(split.source.id))
        keys = self._keys.of_layout(split.target.id)
        for uid in await Registry(self._control, keys).uids():
            if (split.target.id, uid) not in self._lent:
                version, statistics = await old.sum_of(uid)
                if version:
                    await StatisticsStore(self._control, keys).lend(uid, version, statistics)
                self._lent.add((split.target.id, uid))

    async def _is_counted(
        self, split: Split, live: Mapping[str, Heartbeat], newest: list[str], *, is_there: bool
    ) -> bool:
        """Whether searches of the target rank as those of the source do.

        As at the end of a load, a few documents that are not counted yet do not matter. While many
        are written all the time, statistics are never that current, and not waited for for long.
        """
        if split.state not in (SplitState.COPYING, SplitState.SEALED):
            return True
        if not is_there:
            return False
        keys = self._keys.of_layout(split.target.id)
        registry, store = Registry(self._control, keys), StatisticsStore(self._control, keys)
        uids = await registry.uids()
        status = await store.status(uids, split.target.num_shards)
        uncounted = {
            uid
            for uid, counts in (await registry.document_counts_of(uids)).items()
            if not is_counted(uid, status[uid], counts, live.values())
        }
        await self._have_counted(split.state, store, uncounted, dict(enumerate(newest)))
        if not uncounted:
            self._uncounted_since = None
            return True
        now = asyncio.get_running_loop().time()
        since = self._uncounted_since = self._uncounted_since or now
        return now - since >= COUNTING_S

    async def _have_counted(
        self, state: SplitState, store: StatisticsStore, uids: Iterable[str], ends: dict[int, str]
    ) -> None:
        """Have workers count now what they would count later: as at the end of a load."""
        now = asyncio.get_running_loop().time()
        if now - self._counted_at.get(state, -COUNT_AGAIN_S) < COUNT_AGAIN_S:
            return
        for uid in uids:
            self._counted_at[state] = now
            await store.announce(Loaded(secrets.token_hex(8), uid, ends).pack())

    async def _clean_up(self, split: Split) -> None:
        """Remove from Redis what only the layout used that the split leaves, at its end."""
        old = self._keys.of_layout(split.source.id)
        if split.state is SplitState.REMOVING:
            await self._remove(old, split.source.num_shards, keep_logs=True)
        elif split.state is SplitState.ABANDONING:
            log = ShardLog(self._control, old)
            for shard in range(split.source.num_shards):
                await log.forget_replica(shard, held_by(split.target.id))
            new = self._keys.of_layout(split.target.id)
            await self._remove(new, split.target.num_shards, keep_logs=False)

    async def _remove(self, keys: Keys, num_shards: int, *, keep_logs: bool) -> None:
        names = [keys.placement, keys.placement_lease, keys.departed, keys.probation, keys.draining]
        of_shards: list[tuple[int, Command]] = []
        for shard in range(num_shards):
            names += [keys.snapshots(shard), keys.snapshot_lease(shard)]
            names += [keys.copy_lease(shard), keys.clone_lease(shard)]
            own = [keys.applied(shard), keys.search_queue(shard), keys.fetch_queue(shard)]
            own.append(keys.registered(shard))
            if keep_logs:
                # Sealed and empty: a gateway that was stopped all the while must not write to them.
                of_shards.append((shard, ("XTRIM", keys.log(shard), "MAXLEN", 0)))
            else:
                own += [keys.log(shard), keys.trimmed(shard)]
            of_shards.append((shard, ("DEL", *own)))
        for uid in await Registry(self._control, keys).uids():
            names += [keys.documents(uid), keys.statistics(uid), keys.shard_statistics(uid)]
            names += [keys.statistics_claim(uid), keys.optimising(uid), keys.summaries(uid)]
        commands: list[Command] = [
            ("DEL", *names[start : start + DELETED_AT_ONCE])
            for start in range(0, len(names), DELETED_AT_ONCE)
        ]
        await self._control.pipeline(commands)
        await self._control.pipeline_of_shards(of_shards)


def _lag_ms(behind: str, end: str) -> int:
    """By how many ms an entry's id is behind another; at least 1 if it is; 0 if it is not."""
    if position(behind) >= position(end):
        return 0
    return max(1, position(end)[0] - position(behind)[0])


def _unserved(
    source: Mapping[str, Heartbeat], target: Mapping[str, Heartbeat], split: Split
) -> list[int]:
    """Shards of the target that fewer workers serve than the shard that they come from."""
    before = Counter(shard for beat in source.values() for shard in beat.shards)
    now = Counter(shard for beat in target.values() for shard in beat.shards)
    num_old = split.source.num_shards
    return [
        shard
        for shard in range(split.target.num_shards)
        if now[shard] < max(1, before[shard % num_old])
    ]


def _has_full_disk(worker: Heartbeat) -> bool:
    known = map(Shortage.from_json, worker.shortages)
    return any(one and (one.resource, one.state) == (DISK, DiskState.FULL) for one in known)


def _is_in(gateway: GatewayHeartbeat, layout: int) -> bool:
    return layout in (gateway.layout, *gateway.leaving_layouts)


def _state_of(layout: ClusterLayout) -> str:
    return layout.split.state.value if layout.split is not None else "done"
