"""Which workers serve which shard now, and how many documents each shard has, by the heartbeats."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable

from hedgerow.common.collection import Collection
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.common.wire.search_options import LEVEL
from hedgerow.gateway.members.field_filling import filling_of
from hedgerow.gateway.search.plan import NO_WORKER
from hedgerow.gateway.shapes.collection import Filling
from hedgerow.gateway.views.freshness import keep_fresh

# Two reports of the same start differ by what was learnt about the server's clock in between.
SAME_START_MS = 500
FORGET_AFTER_S = 3600.0  # how long the status can say when a dead worker last sent a heartbeat


class Membership:
    """A view of the cluster that the hot path reads without waiting.

    Attributes:
        live: for each shard, whether a live worker serves it.
        no_worker: why a shard without one is not asked. If there is none at all while the Redis
            server runs out of something, that is said: it may refuse their heartbeats.
        num_live: for each shard, how many live workers serve it.
        has_replicas: whether two live workers serve a shard, or may have begun to, as one joins.
        died_at: for each shard, when the gateway last noticed that a worker which may have served
            it had died or restarted; the event loop's time, in s; -inf for never.
        ejected: live workers on probation, which take no requests from the shards' queues.
        workers: the live workers' last heartbeats, by id.
        attaches: whether all of them support searches that ask for documents.
        traces: whether all of them take the context of a trace.
        retracts: whether there are any, and all retract summaries before they write.
        search_options: the level of the options of a search that all of them know.
        without_vectors: one of them that cannot index vectors; None if all can.
        document_counts: collection uid → for each shard, the documents it last reported or None.
        refreshed_at: when the last successful refresh began, in the event loop's time, in s; -inf
            before the first.
    """

    def __init__(
        self,
        registry: Registry,
        num_shards: int,
        expiry_s: float,
        poll_s: float,
        server_ms: Callable[[], int],
        uids: Callable[[], Iterable[str]],
        on_view: Callable[[], None] = lambda: None,
        server_shortage: Callable[[], str] = str,
    ) -> None:
        """Describe the view; `run` keeps it fresh.

        Args:
            registry: has the heartbeats.
            num_shards: shards in the cluster.
            expiry_s: a worker without a heartbeat for this long is not live, in s.
            poll_s: how often to refresh, in addition to each announced change, in s.
            server_ms: the Redis server's clock, which dates heartbeats.
            uids: the collections whose documents are counted.
            on_view: called after each refresh.
            server_shortage: what the Redis server runs out of, in words; "" for nothing.
        """
        self.live = [False] * num_shards
        self.no_worker = NO_WORKER
        self.num_live = [0] * num_shards
        self.has_replicas = False
        self.died_at = [-math.inf] * num_shards
        self.ejected: frozenset[str] = frozenset()
        self.workers: dict[str, Heartbeat] = {}
        self.attaches = False
        self.traces = False
        self.retracts = False
        self.search_options = 0
        self.without_vectors: str | None = None
        self.document_counts: dict[str, list[int | None]] = {}
        self.refreshed_at = -math.inf
        self._registry = registry
        self._expiry_ms = expiry_s * 1000
        self._poll_s = poll_s
        self._server_ms = server_ms
        self._uids = uids
        self._on_view = on_view
        self._server_shortage = server_shortage
        self._filling: dict[str, tuple[Collection, Filling | None]] = {}  # until the next refresh
        self._last: dict[int, Heartbeat] = {}  # shard → the newest of a worker that served it
        self._changed = asyncio.Event()
        self._reading = asyncio.Lock()

    def counts_of(self, uid: str) -> list[int | None]:
        """For each shard, how many documents of the collection it last reported; None if never."""
        counts = self.document_counts.get(uid)
        return counts if counts is not None else [None] * len(self.live)

    def filling_of(self, collection: Collection) -> Filling | None:
        """The progress of fields that were added to a collection; None if none is missing."""
        if not collection.revision:
            return None
        known = self._filling.get(collection.uid)
        if known is None or known[0] is not collection:
            known = collection, filling_of(collection, self.workers.values(), self._last)
            self._filling[collection.uid] = known
        return known[1]

    def workers_of(self, shard: int) -> list[str]:
        """Ids of the live workers that take a shard's requests."""
        return [
            worker
            for worker, heartbeat in self.workers.items()
            if shard in heartbeat.shards and worker not in self.ejected
        ]

    def ranks_by(self, collection: Collection, shards: Iterable[int], version: bytes) -> bool:
        """Whether the live workers of some shards rank by these statistics of a collection.

        A worker that comes to serve one of them has the newest statistics before it does.

        Args:
            collection: none of whose fields is being filled.
            shards: the shards.
            version: of the statistics.
        """
        wanted, named = set(shards), version.hex()
        return self.filling_of(collection) is None and all(
            beat.bounds_scores and beat.statistics.get(collection.uid) == named
            for beat in self.workers.values()
            if not wanted.isdisjoint(beat.shards)
        )

    def replicas_of(self, shard: int) -> set[str]:
        """Ids of the replicas of a shard that live workers serve, or will once they are up to date.

        A replica with a gap will not be served, even if it applies all new writes.
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
        """A change was announced: refresh at once."""
        self._changed.set()

    async def run(self) -> None:
        """Keep the view fresh until cancelled; while Redis is unavailable, the last view stays."""
        await keep_fresh("membership", self.refresh, self._changed, self._poll_s)

    async def read_again(self) -> None:
        """Return after a refresh that began after this call; calls meanwhile share the next one.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        asked_at = asyncio.get_running_loop().time()
        async with self._reading:
            if self.refreshed_at < asked_at:
                await self.refresh()

    async def refresh(self) -> None:
        """Read the heartbeats and the counts once, and remove heartbeats of long-dead workers.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        began_at = asyncio.get_running_loop().time()
        heartbeats = await self._registry.heartbeats()
        counts = await self._registry.document_counts_of(self._uids())
        now_ms = self._server_ms()
        heartbeats = self._registry.dated(heartbeats, now_ms)
        self.take(heartbeats, counts, now_ms, asyncio.get_running_loop().time())
        self.refreshed_at = began_at
        self._on_view()
        for worker, heartbeat in heartbeats.items():
            # If the worker comes back at this moment, it sends another heartbeat within a second.
            if now_ms - heartbeat.beat_at_ms > FORGET_AFTER_S * 1000:
                await self._registry.forget_worker(worker)

    def age_s(self, now: float) -> float:
        """How old the view is at `now`, in s; inf before the first refresh."""
        return now - self.refreshed_at

    def take(
        self,
        heartbeats: dict[str, Heartbeat],
        counts: dict[str, dict[int, int]],
        now_ms: int,
        now: float,
    ) -> None:
        """Update the view from data read at `now_ms` on the server's clock, `now` on ours."""
        before = self.workers
        self._filling = {}
        self.workers = {
            worker: heartbeat
            for worker, heartbeat in heartbeats.items()
            if now_ms - heartbeat.beat_at_ms < self._expiry_ms
        }
        for beat in sorted(heartbeats.values(), key=lambda beat: beat.beat_at_ms):
            self._last.update(dict.fromkeys(beat.shards, beat))
        self.attaches = all(beat.attaches for beat in self.workers.values())
        self.traces = all(beat.traces for beat in self.workers.values())
        self.retracts = bool(self.workers) and all(beat.retracts for beat in self.workers.values())
        self.search_options = min(
            (beat.search_options for beat in self.workers.values()), default=LEVEL
        )
        self.without_vectors = min(
            (worker for worker, beat in self.workers.items() if not beat.vectors), default=None
        )
        for worker, beat in before.items():
            if _has_died(beat, self.workers.get(worker)):
                # It may have served more than was read here before it died. The last that is known
                # of it, or what its successor has found on its disk, says so.
                for shard in self._may_serve(beat, heartbeats.get(worker, beat)):
                    self.died_at[shard] = now
        served = Counter(shard for beat in self.workers.values() for shard in beat.shards)
        self.num_live = [served[shard] for shard in range(len(self.live))]
        self.has_replicas = max(self.num_live) > 1 or (
            len(self.workers) > 1 and any(beat.joins for beat in self.workers.values())
        )
        self.live = [num > 0 for num in self.num_live]
        lack = "" if self.workers else self._server_shortage()
        self.no_worker = f"{NO_WORKER} (redis: {lack})" if lack else NO_WORKER
        self.document_counts = {
            uid: [by_shard.get(shard) for shard in range(len(self.live))]
            for uid, by_shard in counts.items()
        }

    def _may_serve(self, *beats: Heartbeat) -> set[int]:
        """The shards that a worker serves by some heartbeats, or of which it has the data."""
        named = {shard for beat in beats for shard in (*beat.shards, *beat.stored)}
        return {shard for shard in named if shard < len(self.live)}


def _has_died(before: Heartbeat, now: Heartbeat | None) -> bool:
    """Whether a worker is gone, or another process now has its name."""
    if now is None:
        return True
    return now.pid != before.pid or abs(now.started_at_ms - before.started_at_ms) > SAME_START_MS
