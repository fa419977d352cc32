"""Sends second copies of requests that a worker has started and not answered in time.

To find out whether a request was started, the hedger looks for it in the shard's queue. A request
that is still there waits like all others of the shard, and a copy would only wait behind it. One
that is not there has been taken by a worker, which is slow or has died. The copy goes to the head
of the same queue, so that the next free worker takes it; if that is the worker with the first copy,
it forwards the second (`shard_worker.serving.forwarding`). The first reply wins, and the other copy
is cancelled.
"""

import asyncio
import math
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import msgspec
from msgspec.structs import replace

from hedgerow.common.outcome import Outcome
from hedgerow.common.wire.messages import Hedge, Kind, Request, pack_request
from hedgerow.gateway.policies.hedging import (
    HedgeCounts,
    HedgeEnd,
    HedgePolicy,
    HedgeSchedule,
)
from hedgerow.gateway.policies.hedging import Replicas as KnownReplicas
from hedgerow.gateway.policies.shard_result import NO_TIME, ShardResult
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.transport.protocol import Transport

# Least time between two checks of a query: shards become due one by one, and a check costs CPU.
QUANTUM_S = 0.001


class Replicas(KnownReplicas, Protocol):
    """The replicas of the shards, with the names of their workers."""

    @property
    def has_replicas(self) -> bool:
        """Whether a shard has two live workers, or may have them at any moment."""

    def workers_of(self, shard: int) -> list[str]:
        """The live workers that take a shard's requests."""


class Watched(msgspec.Struct, frozen=True):
    """Shards that have been asked for their part of a query.

    Attributes:
        shards: the shards that got this request.
        request: the request.
        message: the request, packed.
        started: when it was sent, on the event loop's clock.
        deadline: until when the query waits for replies, on the same clock.
    """

    gather: Gather
    shards: tuple[int, ...]
    request: Request
    message: bytes
    started: float
    deadline: float


class _Watch:
    """A query that was not answered by its first check.

    Attributes:
        copies: shard → the last second copy sent to it.
        look_at: when the query is checked next; inf if no check is due.
        alarm: the timer of that check.
    """

    __slots__ = ("alarm", "copies", "look_at", "query", "schedule")

    def __init__(self, query: Watched, policy: HedgePolicy) -> None:
        self.query = query
        self.look_at = math.inf
        self.alarm: asyncio.TimerHandle | None = None
        self.schedule = HedgeSchedule(policy, query.started, query.deadline)
        self.copies: dict[int, bytes] = {}

    def last_copy(self, shard: int) -> bytes:
        return self.copies.get(shard, self.query.message)


class Hedger:
    """Sends the second copies of one gateway's searches, or of its fetches.

    `watch` hands it the first copies. It checks them when they are late; by then, nearly all have
    been answered.

    Attributes:
        policy: decides when to send a second copy, from the times that it learns.
        counts: how the second copies ended.
    """

    def __init__(
        self, kind: Kind, transport: Transport, policy: HedgePolicy, replicas: Replicas
    ) -> None:
        """Send second copies of `kind` over `transport` to `replicas`, as `policy` decides."""
        self._kind = kind
        self.policy = policy
        self.counts = HedgeCounts()
        self._transport = transport
        self._replicas = replicas
        self._loop = asyncio.get_running_loop()
        self._is_closed = False

    def watch(self, sent: Sequence[Watched]) -> None:
        """Check the first copies of a query once they are late.

        Args:
            sent: all requests of one gather, just sent; not empty.
        """
        if not self._replicas.has_replicas:
            return  # no worker could take a second copy
        first = sent[0]
        gather = first.gather
        look_at = self.policy.first_look(gather.num_open, first.started, first.deadline)
        gather.look_when(look_at, partial(self._look, sent))

    def learn(self, gather: Gather, now: float) -> None:
        """Learn how long shards took for a query of the sample that has ended."""
        policy = self.policy
        for shard, part in gather.results.items():
            if part.reply is not None and not part.reply.is_hedge:
                if part.outcome is Outcome.OK:
                    policy.record(shard, part.took_s, now)
            elif part.outcome in _GIVEN_UP and part.code != NO_TIME:
                policy.give_up(shard, part.took_s, now)

    def as_dict(self) -> dict[str, int]:
        """Figures for the status."""
        return {**self.counts._asdict(), "refused": self.policy.budget.num_refused}

    def close(self) -> None:
        """Send no more second copies."""
        self._is_closed = True

    def _look(self, sent: Sequence[Watched]) -> None:
        for query in sent:
            self._look_at(_Watch(query, self.policy))

    def _look_at(self, watch: _Watch) -> None:
        query, watch.look_at = watch.query, math.inf
        watch.alarm = None  # it refers to the watch: they would wait for the garbage collector
        if self._is_closed or not query.gather.num_open:
            return
        still_open = query.gather.open.intersection(query.shards)
        due, next_at = watch.schedule.look(still_open, self._replicas, self._loop.time())
        for shard in due:
            self._transport.ask_queue(
                self._kind, shard, watch.last_copy(shard), partial(self._on_queue, watch, shard)
            )
        self._look_later(watch, next_at)

    def _look_later(self, watch: _Watch, at: float | None) -> None:
        if at is None:
            return
        at = max(at, self._loop.time() + QUANTUM_S)
        if at < watch.look_at:  # otherwise the earlier check finds out when the next one is due
            if watch.look_at < math.inf and watch.alarm is not None:
                watch.alarm.cancel()
            watch.look_at = at
            watch.alarm = self._loop.call_at(at, partial(self._look_at, watch))

    def _on_queue(self, watch: _Watch, shard: int, is_queued: bool) -> None:
        if self._is_closed or shard not in watch.query.gather.open:
            return
        schedule, now = watch.schedule, self._loop.time()
        if is_queued:
            schedule.on_queued(shard, now)
        elif schedule.allow(shard, self._replicas, now):
            self._send(watch, shard, now)
        self._look_later(watch, schedule.next_look(shard))  # the worker that has it now may die too

    def _send(self, watch: _Watch, shard: int, now: float) -> None:
        query = watch.query
        hedge = Hedge(shard, self._replicas.workers_of(shard))
        message = pack_request(replace(query.request, hedge=hedge))
        self._transport.hedge(self._kind, shard, message)
        self.counts = self.counts.plus_sent()
        if shard in watch.copies:  # the last copy was lost with its worker
            self.counts = self.counts.plus_end(HedgeEnd.LOST_WHILE_RUNNING)
        watch.copies[shard] = message
        query.gather.hedge(shard, now - query.started, partial(self._on_end, query, message))

    def _on_end(self, query: Watched, message: bytes, shard: int, part: ShardResult) -> None:
        """One copy has won, or neither is wanted any more."""
        if part.reply is not None and part.reply.is_hedge:
            self.counts = self.counts.plus_end(HedgeEnd.WON)
            self._cancel(query, shard)
        else:
            # If the gateway learns from late replies, both may run on after the deadline.
            is_over = part.outcome is not Outcome.TIMED_OUT or not query.request.late_ms
            self._transport.withdraw(
                self._kind, shard, message, partial(self._on_withdrawn, query, shard, is_over)
            )

    def _on_withdrawn(self, query: Watched, shard: int, is_over: bool, is_withdrawn: bool) -> None:
        if is_withdrawn:
            self.counts = self.counts.plus_end(HedgeEnd.LOST_BEFORE_START)
        else:
            self.counts = self.counts.plus_end(HedgeEnd.LOST_WHILE_RUNNING)
            if is_over:
                self._cancel(query, shard)

    def _cancel(self, query: Watched, shard: int) -> None:
        request = query.request
        self._transport.cancel(request.query_id, (shard,), request.expires_at_ms)


_GIVEN_UP = (Outcome.TIMED_OUT, Outcome.CANCELLED, Outcome.OK)
