"""Who serves which shard now, and how many documents each shard holds, from the heartbeats."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable

from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.views.freshness import keep_fresh

# The same start told twice differs by what was learnt of the server's clock meanwhile.
SAME_START_MS = 500
FORGET_AFTER_S = 3600.0  # for so long status can tell when a worker that is gone was last heard of


class Membership:
    """A view of the cluster that the hot path reads without waiting.

    Attributes:
        live: for each shard, whether a live worker serves it.
        num_live: for each shard, how many live workers serve it.
        most_live: the most that any shard has.
        died_at: for each shard, when it was noticed last that a worker which served it had died, or
            had begun anew; the event loop's time, in s; -inf for never.
        resting: workers that take no more requests, though they are live, unless others do not.
        workers: the live workers' last heartbeats, by id.
        attaches: whether all of them understand a search that asks for documents.
        document_counts: collection uid → for each shard, the documents it last reported or None.
        refreshed_at: when the last look began that succeeded, an instant of the event loop's
            time, in s; -inf before the first.
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
        """Describe the view; `run` keeps it.

        Args:
            registry: where the heartbeats lie.
            num_shards: shards in the cluster.
            expiry_s: a worker unheard of for so long is not live.
            poll_s: how often to look, beside each announced change.
            server_ms: the Redis server's clock, on which heartbeats are dated.
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
        """For each shard, how many documents of the collection it last reported; None if never."""
        counts = self.document_counts.get(uid)
        return counts if counts is not None else [None] * len(self.live)

    def workers_of(self, shard: int) -> list[str]:
        """Ids of the live workers that take a shard's requests."""
        return [
            worker
            for worker, heartbeat in self.workers.items()
            if shard in heartbeat.shards and worker not in self.resting
        ]

    def replicas_of(self, shard: int) -> set[str]:
        """Ids of the replicas of a shard that live workers serve, or will once they are up to date.

        One with a gap is not served, however much of what comes now it applies.
        """
        return {
            heartbeat.replicas[shard]
            for heartbeat in self.workers.values()
            if shard in heartbeat.replicas and shard not in heartbeat.gaps
        }

    def num_replicas(self, shard: int) -> int:
        """How many live replicas serve a shard; two workers on one replica's store count once."""
        return len(
            {
                heartbeat.replicas.get(shard, heartbeat.id)
                for heartbeat in self.workers.values()
                if shard in heartbeat.shards
            }
        )

    def wake(self) -> None:
        """Something has been announced: look at once."""
        self._changed.set()

    async def run(self) -> None:
        """Keep the view fresh until cancelled; while Redis is away the last view stands."""
        await keep_fresh("membership", self.refresh, self._changed, self._poll_s)

    async def refresh(self) -> None:
        """Read the heartbeats and the counts once, and remove what the long dead have left.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        began_at = asyncio.get_running_loop().time()
        heartbeats = await self._registry.heartbeats()
        counts = await self._registry.document_counts_of(self._uids())
        now_ms = self._server_ms()
        self.take(heartbeats, counts, now_ms, asyncio.get_running_loop().time())
        self.refreshed_at = began_at
        for worker, heartbeat in heartbeats.items():
            # One that comes back this very moment beats again within a second.
            if now_ms - heartbeat.beat_at_ms > FORGET_AFTER_S * 1000:
                await self._registry.forget_worker(worker)

    def age_s(self, now: float) -> float:
        """How old the view is at `now` of the event loop's time, in s; inf before the first."""
        return now - self.refreshed_at

    def take(
        self,
        heartbeats: dict[str, Heartbeat],
        counts: dict[str, dict[int, int]],
        now_ms: int,
        now: float,
    ) -> None:
        """Make the view from what was read at `now_ms` by the server's clock, `now` by ours."""
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
    """Whether a worker is gone, or its name is another process's by now."""
    if now is None:
        return True
    return now.pid != before.pid or abs(now.started_at_ms - before.started_at_ms) > SAME_START_MS
