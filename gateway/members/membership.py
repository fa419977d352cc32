"""Which workers serve which shard now, and each shard's number of documents, by heartbeats."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable

from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.views.freshness import keep_fresh

# Two reports of the same start differ by corrections of the clock in between.
SAME_START_MS = 500
FORGET_AFTER_S = 3600.0  # for this time, the last heartbeat of a lost worker is kept


class Membership:
    """A view of the cluster, which the hot path reads without waiting.

    Attributes:
        live: for each shard, whether a live worker serves it.
        num_live: for each shard, how many live workers serve it.
        most_live: the largest number of live workers of a shard.
        died_at: for each shard, when it was last noticed that a worker which served it had died or
            restarted, in s; -inf for never.
        resting: live workers that take no live requests, unless a shard has no other.
        workers: the live workers' last heartbeats, by id.
        attaches: whether all of them understand a search that asks for documents.
        document_counts: collection uid → for each shard, the last reported documents, or None.
        refreshed_at: when the last successful refresh began, in s; -inf before the first.
    """

    def __init__(
        self,
        registry: Registry,
        num_shards: int,
        expiry_s: float,
        poll_s: float,
        server_ms: Callable[[], int],
        uids: Callable[[], Iterable[str]],
    ) -> None:
        """Describe the view; `run` keeps it fresh.

        Args:
            registry: stores the heartbeats.
            num_shards: shards in the cluster.
            expiry_s: after this time without a heartbeat, a worker is not live.
            poll_s: time between two refreshes without an announced change, in s.
            server_ms: the Redis server's clock, by which heartbeats are dated.
            uids: the collections whose documents are counted.
        """
        self.live = [False] * num_shards
        self.num_live = [0] * num_shards
        self.most_live = 0
        self.died_at = [-math.inf] * num_shards
        self.resting: frozenset[str] = frozenset()
        self.workers: dict[str, Heartbeat] = {}
        self.attaches = False
        self.document_counts: dict[str, list[int | None]] = {}
        self.refreshed_at = -math.inf
        self._registry = registry
        self._expiry_ms = expiry_s * 1000
        self._poll_s = poll_s
        self._server_ms = server_ms
        self._uids = uids
        self._changed = asyncio.Event()

    def counts_of(self, uid: str) -> list[int | None]:
        """Return for each shard its last reported documents of the collection; None if never."""
        counts = self.document_counts.get(uid)
        return counts if counts is not None else [None] * len(self.live)

    def workers_of(self, shard: int) -> list[str]:
        """Return the ids of the live workers that take a shard's requests."""
        return [
            worker
            for worker, heartbeat in self.workers.items()
            if shard in heartbeat.shards and worker not in self.resting
        ]

    def replicas_of(self, shard: int) -> set[str]:
        """Return the ids of the replicas that live workers serve, or will once they are up to date.

        A replica with a gap is not served, even if it applies all later entries.
        """
        return {
            heartbeat.replicas[shard]
            for heartbeat in self.workers.values()
            if shard in heartbeat.replicas and shard not in heartbeat.gaps
        }

    def num_replicas(self, shard: int) -> int:
        """Return how many live replicas a shard has; two workers with the same store count once."""
        return len(
            {
                heartbeat.replicas.get(shard, heartbeat.id)
                for heartbeat in self.workers.values()
                if shard in heartbeat.shards
            }
        )

    def wake(self) -> None:
        """A change was announced: refresh at once."""
        self._changed.set()

    async def run(self) -> None:
        """Keep the view fresh until cancelled; while Redis is unavailable, the last view stays."""
        await keep_fresh("membership", self.refresh, self._changed, self._poll_s)

    async def refresh(self) -> None:
        """Read the heartbeats and the counts once, and delete old heartbeats of lost workers.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        began_at = asyncio.get_running_loop().time()
        heartbeats = await self._registry.heartbeats()
        counts = await self._registry.document_counts_of(self._uids())
        now_ms = self._server_ms()
        self.take(heartbeats, counts, now_ms, asyncio.get_running_loop().time())
        self.refreshed_at = began_at
        for worker, heartbeat in heartbeats.items():
            # A worker that returns at this moment sends another heartbeat within a second.
            if now_ms - heartbeat.beat_at_ms > FORGET_AFTER_S * 1000:
                await self._registry.forget_worker(worker)

    def age_s(self, now: float) -> float:
        """Return how old the view is at `now`, in s; inf before the first refresh."""
        return now - self.refreshed_at

    def take(
        self,
        heartbeats: dict[str, Heartbeat],
        counts: dict[str, dict[int, int]],
        now_ms: int,
        now: float,
    ) -> None:
        """Make the view from data read at `now_ms` by the server's clock, and `now` by ours."""
        before = self.workers
        self.workers = {
            worker: heartbeat
            for worker, heartbeat in heartbeats.items()
            if now_ms - heartbeat.beat_at_ms < self._expiry_ms
        }
        self.attaches = all(beat.attaches for beat in self.workers.values())
        for worker, beat in before.items():
            if _has_died(beat, self.workers.get(worker)):
                for shard in beat.shards:
                    self.died_at[shard] = now
        served = Counter(shard for beat in self.workers.values() for shard in beat.shards)
        self.num_live = [served[shard] for shard in range(len(self.live))]
        self.most_live = max(self.num_live)
        self.live = [num > 0 for num in self.num_live]
        self.document_counts = {
            uid: [by_shard.get(shard) for shard in range(len(self.live))]
            for uid, by_shard in counts.items()
        }


def _has_died(before: Heartbeat, now: Heartbeat | None) -> bool:
    """Return whether a worker has gone, or was replaced by a process of the same name."""
    if now is None:
        return True
    return now.pid != before.pid or abs(now.started_at_ms - before.started_at_ms) > SAME_START_MS
