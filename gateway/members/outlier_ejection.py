"""Keeps live requests from workers that are outliers, and sends them shadow requests.

The times of replies go to the policy (gateway/policies/outlier_detection.py), and its decisions to
a hash that the cluster shares (common/state/probation.py). All replicas of a shard pull from the
same queue, so the ejected worker itself stops pulling when it reads the decision there, and reads
only its own queue. In that queue it gets shadow requests: copies of real requests, each with its
own id and deadline, sent after the real answer has left. Only the policy uses the reply.

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
from hedgerow.common.state.probation import ProbationStore, Word
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.common.wire.messages import Hedge, Kind, Request, pack_request
from hedgerow.gateway.members.shadow_request import ShadowRequest
from hedgerow.gateway.policies.outlier_detection import SHARDS_AT_ONCE, Probation
from hedgerow.gateway.policies.shard_result import ShardResult
from hedgerow.gateway.search.breakers import QUERY_FAULT_CODES
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.transport.protocol import ReplySink
from hedgerow.gateway.views.freshness import keep_fresh

log = structlog.get_logger()

LEASE_S: Final = 5.0  # a gateway's decision expires unless it is renewed within this time
_LEASE_INTERVALS: Final = 3.0  # or, if that is longer, within this many comparisons
_MAX_SWAPS: Final = 4  # attempts: of gateways that write at once, one succeeds each time
_MIN_SHADOW_S: Final = 0.1  # a worker is not to blame for a deadline too short for any

_OK: Final = Outcome.OK
_FAILED: Final = Outcome.FAILED


class Line(Protocol):
    """What shadow requests need of the network."""

    def send_to(
        self, kind: Kind, worker: str, query_id: int, message: bytes, sink: ReplySink
    ) -> None:
        """Send a request to one worker only, through the queue that no other reads.

        Args:
            kind: the kind of request.
            worker: the worker's id.
            query_id: unique in this gateway; replies with this id go to `sink`.
            message: the packed `Request`, whose `hedge` names the shard.
            sink: takes the reply, until `release`.
        """

    def release(self, query_id: int) -> None:
        """Stop waiting for replies to this query."""


class Members(Protocol):
    """The live workers, and those that get no live requests."""

    workers: dict[str, Heartbeat]
    resting: frozenset[str]


class OutlierEjection:
    """One gateway's part in the probation of workers."""

    def __init__(
        self,
        settings: ProbationSettings,
        board: ProbationStore,
        members: Members,
        num_shards: int,
        transport: Line,
        next_id: Callable[[], int],
        server_us: Callable[[float], int],
        rng: Callable[[], float],
        gateway_id: str,
    ) -> None:
        """Compare `members`, and send shadow requests over `transport`.

        Args:
            settings: settings of the policy.
            board: the decisions that gateways and workers share.
            members: the view of the cluster.
            num_shards: shards in the cluster.
            transport: sends the shadow requests.
            next_id: makes query ids that are unique in this gateway.
            server_us: converts the event loop's time, in s, to the Redis server's clock, in µs.
            rng: uniform over [0, 1), to choose shards.
            gateway_id: this gateway's id.
        """
        self._words: Mapping[str, Word] = {}
        self._settings = settings
        self._policy = Probation(settings)
        self._board = board
        self._members = members
        self._transport = transport
        self._next_id = next_id
        self._server_us = server_us
        self._id = gateway_id
        self._lease_ms = round(max(LEASE_S, _LEASE_INTERVALS * settings.interval_s) * 1000)
        self._loop = asyncio.get_running_loop()
        # Many shards are compared in several steps, at shorter intervals.
        self._pause_s = settings.interval_s / -(-num_shards // SHARDS_AT_ONCE)
        self._serving: dict[str, tuple[int, ...]] = {}
        self._replicas: dict[int, list[str]] = {}
        self._shadows: dict[str, ShadowRequest] = {}
        self._rng = rng
        self._since_ms: dict[str, int] = {}
        self._synced_at = -math.inf
        self._written: frozenset[str] = frozenset()
        self._woken = asyncio.Event()
        self._is_told = False

    def learn(self, gather: Gather, request: Request, now: float) -> None:
        """Learn from a query that has ended, and send copies of some as shadow requests.

        Args:
            gather: how its parts ended.
            request: the request as it was sent.
            now: the time, in s.
        """
        record = self._policy.record
        for shard, part in gather.settled.items():
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
            self._shadow(gather, request, now)

    def words(self, now_ms: int) -> dict[str, Word]:
        """Worker id → a gateway's decision about it, valid at `now_ms` by the server's clock."""
        return {worker: word for worker, word in self._words.items() if word.until_ms > now_ms}

    def wake(self) -> None:
        """Another gateway has changed which workers are on probation."""
        self._is_told = True
        self._woken.set()

    async def run(self) -> None:
        """Compare workers and exchange decisions with other gateways, until cancelled."""
        try:
            await keep_fresh("probation", self.step, self._woken, self._pause_s)
        finally:
            for shadow in list(self._shadows.values()):
                shadow.drop()

    async def step(self) -> None:
        """Compare once; if due, read and write the shared decisions.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        now = self._loop.time()
        self._follow_members(now)
        on = self._policy.on_probation(now)
        is_due = now >= self._synced_at + self._settings.interval_s
        if is_due or self._is_told or on != self._written:
            self._is_told = False
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
        """Merge this gateway's decisions with the earlier ones of others."""
        for _ in range(_MAX_SWAPS):
            words = await self._board.words()
            now = self._loop.time()
            now_ms = self._server_us(now) // 1000
            standing = {
                worker: word
                for worker, word in words.items()
                if word.gateway != self._id and word.until_ms > now_ms
            }
            on = self._policy.set_elsewhere(standing, now)
            own = {worker: self._word(worker, now_ms) for worker in on}
            gone = words.keys() - standing.keys() - own.keys()
            if not own and not gone:
                break
            if await self._board.swap(words, gone, own):
                if own.keys() | standing.keys() != words.keys():
                    await self._board.announce()
                break
        else:
            return  # others keep writing; the next step is soon
        self._tell(on, {**standing, **own})

    def _word(self, worker: str, now_ms: int) -> Word:
        since_ms = self._since_ms.setdefault(worker, now_ms)
        return Word(self._id, self._policy.reason(worker), since_ms, now_ms + self._lease_ms)

    def _tell(self, on: frozenset[str], words: Mapping[str, Word]) -> None:
        for worker in sorted(on - self._written):
            log.warning("probation_began", worker=worker, reason=self._policy.reason(worker))
        for worker in sorted(self._written - on):
            log.info("probation_ended", worker=worker)
            del self._since_ms[worker]
        self._written = on
        self._words = words
        self._members.resting = frozenset(words)

    def _record_loser(self, shard: int, part: ShardResult, now: float) -> None:
        """Record the worker whose first copy lost to a second; with two replicas it is known.

        Its reply never arrives. It took longer than the query waited, which includes the time in
        the queue, since no reply tells that.
        """
        others = [worker for worker in self._replicas.get(shard, ()) if worker != part.worker]
        if len(others) == 1:
            self._policy.record(others[0], shard, part.took_s, True, now)

    def _shadow(self, gather: Gather, request: Request, now: float) -> None:
        # Start at a random shard, or the first would get all of them. Skip parts that failed, since
        # the query itself may be harmful.
        shards = [shard for shard, part in gather.settled.items() if part.outcome is _OK]
        first = int(self._rng() * len(shards))
        for shard in shards[first:] + shards[:first]:
            worker = self._policy.take(shard, now)
            # One at a time: the wait behind another shadow request says nothing about the worker.
            if worker is not None and worker in self._written and worker not in self._shadows:
                self._send_shadow(worker, shard, request, now)

    def _send_shadow(self, worker: str, shard: int, request: Request, now: float) -> None:
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
            del self._shadows[worker]
            self._transport.release(query_id)
            if is_ok is not None:
                self._policy.record(worker, shard, took_s, is_ok, self._loop.time())

        shadow = self._shadows[worker] = ShadowRequest(given_us / 1e6, on_end)
        self._transport.send_to(Kind.SEARCH, worker, query_id, pack_request(copy), shadow)
