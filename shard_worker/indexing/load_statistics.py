"""Counts a load in the term statistics as soon as it is applied, without waiting for a job.

If a gateway waits for a load, it announces the load's end. Every worker then collects the
statistics of its shards, and the last to do so sums them. When a worker has written the table of
the sum and fitted its indexes, it answers the gateway. None of this is durable: what is lost here,
the jobs of `shard_worker.control.jobs` make good.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import dataclass

from hedgerow.common.shard_log.entries import position
from hedgerow.common.shard_log.events import Loaded, Ranked
from hedgerow.common.state.statistics import BULK_SHARE, StatisticsStore, changes_of, version_of
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.shard_report import CollectionReport

GIVE_UP_S = 120.0  # longer than any gateway waits


@dataclass(frozen=True)
class _Pending:
    """Loads of one collection that are not counted yet, or not reported to the gateways yet."""

    ends: Mapping[int, str]
    tokens: frozenset[str]
    since_s: float


class LoadStatistics:
    """Counts the loads that gateways announce."""

    def __init__(
        self,
        *,
        store: StatisticsStore,
        applier: Applier,
        is_ours: Callable[[int, str | None, float], Awaitable[bool]],
        collect: Callable[[str, int], Awaitable[None]],
        add_up: Callable[[str], Awaitable[None]],
    ) -> None:
        """Count the loads that `take` is given, whenever `count` and `answer` are called.

        Args:
            store: where the statistics are.
            applier: knows what the shards hold.
            is_ours: whether this worker has to collect a shard's statistics, given their label
                and the time.
            collect: collects and stores the statistics of a collection on a shard.
            add_up: sums the statistics of all shards.
        """
        self._store = store
        self._applier = applier
        self._is_ours = is_ours
        self._collect = collect
        self._add_up = add_up
        self._pending: dict[str, _Pending] = {}

    def take(self, event: bytes) -> bool:
        """Take a load that a gateway announces; returns whether the event announced one."""
        loaded = Loaded.unpack(event)
        if loaded is None:
            return False
        known = self._pending.get(loaded.uid, _Pending({}, frozenset(), 0.0))
        ends = dict(known.ends)
        for shard, end in loaded.ends.items():
            ends[shard] = max(end, ends.get(shard, end), key=position)
        now = asyncio.get_running_loop().time()
        self._pending[loaded.uid] = _Pending(ends, known.tokens | {loaded.token}, now)
        return True

    async def count(self, num_shards: int) -> None:
        """Collect what this worker's shards have of the loads; sum when all shards are counted.

        Raises:
            RedisUnavailableError, WorkError: something could not be done now.
        """
        now = asyncio.get_running_loop().time()
        self._pending = {
            uid: one for uid, one in self._pending.items() if now - one.since_s < GIVE_UP_S
        }
        if not self._pending:
            return
        asked = dict(self._pending)  # loads that are announced meanwhile are for the next call
        for uid, pending in asked.items():
            missing = await self._store.missing(uid, pending.ends)
            here = [shard for shard in missing if shard in self._applier.states]
            # In an order of its own: the workers of other replicas count the same shards meanwhile.
            random.shuffle(here)
            for shard in here:
                status = (await self._store.status([uid], num_shards))[uid]
                await self._count_shard(uid, shard, status.labels.get(shard), now)
            if await self._store.missing(uid, pending.ends):
                continue  # other workers' shards
            labels = (await self._store.status([uid], num_shards))[uid]
            if not labels.is_current and await self._store.claim_sum(
                uid, version_of(labels.labels)
            ):
                await self._add_up(uid)

    async def _count_shard(self, uid: str, shard: int, label: str | None, now: float) -> None:
        state = self._applier.states.get(shard)
        report = next((one for one in state.collections if one.uid == uid), None) if state else None
        if state is None or report is None or not await self._is_ours(shard, label, now):
            return
        if _is_bulk(report, changes_of(label, state.replica_id)):
            await self._collect(uid, shard)
        else:
            await self._store.put_position(uid, shard, state.position)

    async def answer(
        self, known: Container[str], tables: Mapping[str, bytes], num_shards: int
    ) -> None:
        """Announce the loads that this worker's searches count in ranking.

        Args:
            known: uids of the collections that the worker has.
            tables: collection uid → version of the sum that this worker ranks by.
            num_shards: shards in the cluster.

        Raises:
            RedisUnavailableError: there was no answer in time.
        """
        replicas = [state.replica_id for state in self._applier.states.values()]
        for uid, pending in list(self._pending.items()):
            is_dropped = uid not in known
            if not is_dropped and not await self._is_ranked(
                uid, pending, tables.get(uid, b""), num_shards
            ):
                continue
            for token in pending.tokens:
                await self._store.announce(Ranked(token, replicas).pack())
            if self._pending.get(uid) is pending:  # else another load was announced meanwhile
                del self._pending[uid]

    async def _is_ranked(self, uid: str, pending: _Pending, table: bytes, num_shards: int) -> bool:
        if await self._store.missing(uid, pending.ends):
            return False
        # Read afterwards: an earlier sum may have been made while some were missing.
        now = (await self._store.status([uid], num_shards))[uid]
        return now.is_current and table == now.version


def _is_bulk(report: CollectionReport, collected: int | None) -> bool:
    """Whether a shard has changed enough for its statistics to be collected at once."""
    if collected is None:
        return report.documents > 0
    return report.changes - collected > BULK_SHARE * report.documents
