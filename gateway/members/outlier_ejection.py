"""Keeps outliers among replicas from live requests, and sends them shadow requests.

The timings of replies and second copies go to the policy (gateway/policies/outlier_detection.py),
and its decisions to the hash that the cluster shares (common/state/probation.py). Requests wait in
queues from which all replicas of a shard pull. So the worker itself stops pulling, once it reads of
its probation there, and reads only its own queue. That queue gets shadow requests: copies of real
requests, each with its own id and deadline, sent when the answer has already left. Their replies go
only to the policy.

Only searches are compared and copied. The time of a fetch depends more on the documents, and on the
user's `enrich`, than on the worker.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import structlog
from msgspec.structs import replace

from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.tail import ProbationSettings
from hedgerow.common.state.probation import MOST_LEFT_MS, ProbationEntry, ProbationStore
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.common.wire.messages import Hedge, Kind, Request, pack_request
from hedgerow.gateway.members.shadow_request import ShadowRequest
from hedgerow.gateway.policies.outlier_detection import SHARDS_AT_ONCE, Probation
from hedgerow.gateway.policies.shard_result import ShardResult
from hedgerow.gateway.search.ended_search import EndedSearch
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.guards.breakers import QUERY_FAULT_CODES
from hedgerow.gateway.transport.protocol import ReplySink
from hedgerow.gateway.views.freshness import keep_fresh

log = structlog.get_logger()

LEASE_S: Final = 5.0  # an entry that its gateway has not renewed for this long is invalid
_LEASE_INTERVALS: Final = 3.0  # and for at least this many comparisons
_MAX_SWAPS: Final = 4  # of gateways that decide at once, one succeeds with each attempt
_MIN_SHADOW_S: Final = 0.1  # so that a worker is not blamed for a deadline too short for any

_OK: Final = Outcome.OK
_FAILED: Final = Outcome.FAILED


class Line(Protocol):
    """What shadow requests need from the transport."""

    def send_to(
        self, kind: Kind, worker: str, shard: int, query_id: int, message: bytes, sink: ReplySink
    ) -> None:
        """Send a request to one worker, by the queue that only this worker reads.

        Args:
            kind: what is asked for.
            worker: the worker.
            shard: the shard that is meant.
            query_id: unique in this gateway; replies with it go to `sink`.
            message: the packed `Request`, whose `hedge` names the shard as well.
            sink: gets the reply, until `release`.
        """

    def release(self, query_id: int) -> None:
        """The replies of this query are no longer needed."""


class Members(Protocol):
    """The live workers, and those that must take no live requests."""

    workers: dict[str, Heartbeat]
    ejected: frozenset[str]


class OutlierEjection:
    """One gateway's part in the probation of workers."""

    def __init__(
        self,
        settings: ProbationSettings,
        store: ProbationStore,
        members: Members,
        num_shards: int,
        transport: Line,
        next_id: Callable[[], int],
        server_us: Callable[[float], int],
        rng: Callable[[], float],
        gateway_id: str,
    ) -> None:
        """Judge `members`, and send shadow requests over `transport`.

        Args:
            settings: settings of the policy.
            store: the entries that gateways share with each other and with the workers.
            members: the view of the cluster.
            num_shards: shards in the cluster.
            transport: sends the shadow requests.
            next_id: returns query ids that are unique in this gateway.
            server_us: converts the event loop's time, in s, to the Redis server's clock, in µs.
            rng: uniform over [0, 1), to choose shards.
            gateway_id: this gateway, for its entries.
        """
        self._entries: Mapping[str, ProbationEntry] = {}
        self._settings = settings
        self._policy = Probation(settings)
        self._store = store
        self._members = members
        self._transport = transport
        self._next_id = next_id
        self._server_us = server_us
        self._id = gateway_id
        lease_s = max(LEASE_S, _LEASE_INTERVALS * settings.interval_s)
        self._lease_ms = min(round(lease_s * 1000), MOST_LEFT_MS)
        self._loop = asyncio.get_running_loop()
        # Many shards are compared in several steps, with shorter pauses in between.
        self._pause_s = settings.interval_s / -(-num_shards // SHARDS_AT_ONCE)
        self._serving: dict[str, tuple[int, ...]] = {}
        self._replicas: dict[int, list[str]] = {}
        self._shadow_requests: dict[str, ShadowRequest] = {}
        self._rng = rng
        self._since_ms: dict[str, int] = {}
        self._synced_at = -math.inf
        self._written: frozenset[str] = frozenset()
        self._woken = asyncio.Event()
        self._is_announced = False

    def learn(self, gather: Gather, request: Request, now: float) -> None:
        """Learn from a query that has ended, and copy some of its parts as shadow requests.

        Args:
            gather: how its parts have ended.
            request: the request that was sent for them.
            now: the event loop's time, in s.
        """
        record = self._policy.record
        for shard, part in gather.results.items():
            reply = part.reply
            if reply is None:
                continue
            if part.outcome is _OK:
                record(part.worker, shard, (reply.lane_us + reply.work_us) / 1e6, True, now)
                if reply.is_hedge:
                    self._record_loser(shard, part, now)
            elif part.outcome is _FAILED and part.code not in QUERY_FAULT_CODES:
                record(part.worker, shard, part.took_s, False, now)
        if self._written:
            self._copy_some(gather, request, now)

    def on_end(self, ended: EndedSearch) -> None:
        """Learn from a sampled search that has ended, as an observer."""
        self.learn(ended.gather, ended.request, ended.ended_at)

    def entries(self, now_ms: int) -> dict[str, ProbationEntry]:
        """Worker id → some gateway's entry for it, valid at `now_ms` on the server's clock."""
        return {worker: entry for worker, entry in self._entries.items() if entry.is_valid(now_ms)}

    def wake(self) -> None:
        """Another gateway has changed which workers are on probation."""
        self._is_announced = True
        self._woken.set()

    async def run(self) -> None:
        """Judge, and share with other gateways which workers are on probation, until cancelled."""
        try:
            await keep_fresh("probation", self.step, self._woken, self._pause_s)
        finally:
            for shadow in list(self._shadow_requests.values()):
                shadow.drop()

    async def step(self) -> None:
        """Judge once; read and write the shared entries if that is due.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        now = self._loop.time()
        self._follow_members(now)
        on = self._policy.on_probation(now)
        is_due = now >= self._synced_at + self._settings.interval_s
        if is_due or self._is_announced or on != self._written:
            self._is_announced = False
            await self._sync()
            self._synced_at = now

    def _follow_members(self, now: float) -> None:
        serving = {
            worker: tuple(heartbeat.shards) for worker, heartbeat in self._members.workers.items()
        }
        if serving == self._serving:
            return
        self._serving = serving
        self._replicas = {}
        for worker, shards in serving.items():
            for shard in shards:
                self._replicas.setdefault(shard, []).append(worker)
        self._policy.set_live(self._replicas, now)

    async def _sync(self) -> None:
        """Combine this gateway's decisions with the earlier entries of others."""
        for _ in range(_MAX_SWAPS):
            entries = await self._store.entries()
            now = self._loop.time()
            now_ms = self._server_us(now) // 1000
            elsewhere = {
                worker: entry
                for worker, entry in entries.items()
                if entry.gateway != self._id and entry.is_valid(now_ms)
            }
            on = self._policy.set_elsewhere(elsewhere, now)
            own = {worker: self._entry(worker, now_ms) for worker in on}
            gone = entries.keys() - elsewhere.keys() - own.keys()
            if not own and not gone:
                break
            if await self._store.swap(entries, gone, own):
                if own.keys() | elsewhere.keys() != entries.keys():
                    await self._store.announce()
                break
        else:
            return  # the other gateways keep changing it; the next attempt is soon
        self._publish(on, {**elsewhere, **own})

    def _entry(self, worker: str, now_ms: int) -> ProbationEntry:
        since_ms = self._since_ms.setdefault(worker, now_ms)
        return ProbationEntry(
            self._id, self._policy.reason(worker), since_ms, now_ms + self._lease_ms
        )

    def _publish(self, on: frozenset[str], entries: Mapping[str, ProbationEntry]) -> None:
        for worker in sorted(on - self._written):
            log.warning("probation_began", worker=worker, reason=self._policy.reason(worker))
        for worker in sorted(self._written - on):
            log.info("probation_ended", worker=worker)
            del self._since_ms[worker]
        self._written = on
        self._entries = entries
        self._members.ejected = frozenset(entries)

    def _record_loser(self, shard: int, part: ShardResult, now: float) -> None:
        """Record the worker with the first copy when the second won: of two replicas, the other.

        Its reply never comes. Its time is only known to exceed the query's wait, which includes the
        time in the queue.
        """
        others = [other for other in self._replicas.get(shard, ()) if other != part.worker]
        if len(others) == 1:
            self._policy.record(others[0], shard, part.took_s, True, now)

    def _copy_some(self, gather: Gather, request: Request, now: float) -> None:
        # At random, or the first shard would get all of them. Failed parts may kill scorers.
        shards = [shard for shard, part in gather.results.items() if part.outcome is _OK]
        first = int(self._rng() * len(shards))
        for shard in shards[first:] + shards[:first]:
            worker = self._policy.take(shard, now)
            # One at a time: waiting behind another one says nothing about the worker's speed.
            if (
                worker is not None
                and worker in self._written
                and worker not in self._shadow_requests
            ):
                self._send_shadow_request(worker, shard, request, now)

    def _send_shadow_request(self, worker: str, shard: int, request: Request, now: float) -> None:
        query_id = self._next_id()
        now_us = self._server_us(now)
        until_ms = request.expires_at_ms - request.late_ms
        given_us = max(until_ms * 1000 - request.sent_at_us, round(_MIN_SHADOW_S * 1e6))
        copy = replace(
            request,
            query_id=query_id,
            expires_at_ms=(now_us + given_us) // 1000,
            sent_at_us=now_us,
            hedge=Hedge(shard, []),
            late_ms=0,
        )

        def on_end(took_s: float, is_ok: bool | None) -> None:
            del self._shadow_requests[worker]
            self._transport.release(query_id)
            if is_ok is not None:
                self._policy.record(worker, shard, took_s, is_ok, self._loop.time())

        shadow = self._shadow_requests[worker] = ShadowRequest(given_us / 1e6, on_end)
        message = pack_request(copy)
        self._transport.send_to(Kind.SEARCH, worker, shard, query_id, message, shadow)
