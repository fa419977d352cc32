"""Sends second copies of requests that a worker has started and not answered in time.

How it knows that one was started: it asks the shard's queue for the message. What is still there
waits with everything else of that shard, and a copy would wait behind it; what is not there has
been taken by a worker, which is slow with it or gone. The copy goes to the head of the same queue,
so that the next free worker takes it; should that be the one that has the first, it hands it on
(`shard_worker.hand_over`). The first reply wins, and the other copy is cancelled.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from common.outcome import Outcome
from common.wire import Hedge, Kind, Request, pack_request
from gateway.gather import NO_TIME, Gather, Settled
from gateway.hedging import MIN_REPLICAS, HedgeCounts, HedgeEnd, HedgePolicy, HedgeSchedule
from gateway.transport import Transport

# Looks that are due within so long are taken together: a timer costs more than a look.
QUANTUM_S = 0.001


class Replicas(Protocol):
    """Who could take a second copy."""

    @property
    def num_live(self) -> Sequence[int]:
        """For each shard, how many live workers serve it."""

    def workers_of(self, shard: int) -> list[str]:
        """The live workers that take a shard's requests."""


class Watched(NamedTuple):
    """Shards that have been asked for their part of a query.

    Attributes:
        shards: those that got this request.
        request: as it was sent to all of them.
        message: the same, packed.
        started: when, on the event loop's clock.
        deadline: until when replies are waited for.
    """

    gather: Gather
    shards: tuple[int, ...]
    request: Request
    message: bytes
    started: float
    deadline: float


class Hedger:
    """Watches one gateway's searches in flight, or its fetches.

    Attributes:
        policy: decides, and learns.
        counts: what became of the second copies.
    """

    def __init__(
        self, kind: Kind, transport: Transport, policy: HedgePolicy, replicas: Replicas
    ) -> None:
        """Send second copies of `kind` over `transport` to `replicas`, as `policy` has it."""
        self._kind = kind
        self.policy = policy
        self.counts = HedgeCounts()
        self._transport = transport
        self._replicas = replicas
        self._loop = asyncio.get_running_loop()
        self._first: deque[tuple[float, Watched]] = deque()
        self._later: list[tuple[float, int, Watched, HedgeSchedule]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, query: Watched) -> None:
        """A query's first copies have just been sent."""
        if max(self._replicas.num_live) < MIN_REPLICAS:
            return  # nobody could take a second copy
        policy, first = self.policy, self._first
        policy.budget.add(len(query.shards))
        at = policy.first_look(query.started, query.deadline)
        # Most end before their look is due. To keep them until then, with all that they were
        # answered, costs the processor's caches more than all else here.
        while first and not first[0][1].gather.num_open:
            first.popleft()
        if at is not None:
            first.append((at, query))
            if self._timer is None:
                self._arm()

    def learn(self, gather: Gather, now: float) -> None:
        """A query has ended that is one to learn from."""
        policy = self.policy
        for shard, part in gather.settled.items():
            if part.reply is not None and not part.reply.is_hedge:
                if part.outcome is Outcome.OK:
                    policy.record(shard, part.took_s, now)
            elif part.outcome in _GIVEN_UP and part.code != NO_TIME:
                policy.give_up(shard, part.took_s, now)

    def as_dict(self) -> dict[str, int]:
        """Figures for the status."""
        return {**self.counts._asdict(), "refused": self.policy.budget.num_refused}

    def close(self) -> None:
        """Send no more."""
        self._first.clear()
        self._later.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:  # a look may have set one before it ends
            self._timer.cancel()
        at = min(
            self._first[0][0] if self._first else self._later[0][0],
            self._later[0][0] if self._later else self._first[0][0],
        )
        self._timer = self._loop.call_at(max(at, self._loop.time() + QUANTUM_S), self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        # Delays differ little from query to query, so that the first are about in order.
        while self._first and self._first[0][0] <= now:
            _, query = self._first.popleft()
            if query.gather.num_open:
                schedule = HedgeSchedule(self.policy, query.started, query.deadline)
                self._look_at(query, schedule, now)
        while self._later and self._later[0][0] <= now:
            _, _, query, schedule = heapq.heappop(self._later)
            if query.gather.num_open:
                self._look_at(query, schedule, now)
        if self._first or self._later:
            self._arm()

    def _look_at(self, query: Watched, schedule: HedgeSchedule, now: float) -> None:
        still_open = query.gather.open.intersection(query.shards)
        due, next_at = schedule.look(still_open, self._replicas.num_live, now)
        for shard in due:
            self._transport.ask_queue(
                self._kind, shard, query.message, partial(self._on_queue, query, schedule, shard)
            )
        self._look_later(query, schedule, next_at)

    def _look_later(self, query: Watched, schedule: HedgeSchedule, at: float | None) -> None:
        if at is not None:
            heapq.heappush(self._later, (at, next(self._numbers), query, schedule))
            if self._timer is None:
                self._arm()

    def _on_queue(
        self, query: Watched, schedule: HedgeSchedule, shard: int, is_queued: bool
    ) -> None:
        if shard not in query.gather.open:
            return
        now = self._loop.time()
        if not is_queued and schedule.allow(shard, now):
            self._send(query, shard, now)
        else:
            self._look_later(query, schedule, schedule.put_off(shard, now))

    def _send(self, query: Watched, shard: int, now: float) -> None:
        hedge = Hedge(shard, self._replicas.workers_of(shard))
        message = pack_request(replace(query.request, hedge=hedge))
        self._transport.hedge(self._kind, shard, message)
        self.counts = self.counts.plus_sent()
        query.gather.hedge(shard, now - query.started, partial(self._on_end, query, message))

    def _on_end(self, query: Watched, message: bytes, shard: int, part: Settled) -> None:
        """One copy has won, or nobody waits for either."""
        if part.reply is not None and part.reply.is_hedge:
            self.counts = self.counts.plus_end(HedgeEnd.WON)
            self._cancel(query, shard)
        else:
            # After the deadline both may run on, where a late reply is learnt from.
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
