"""A model of a cluster under load, for the policies of admission: shards with hard capacities.

Discrete events in virtual time. Each shard has one queue and some servers; a request is started
first in, first out, or newest first, or as a worker's `PullOrder` says, and one that has expired
when it is pulled is dropped. It shares nothing with the code under test but what goes over its
interface.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from hedgerow.common.errors import OverloadedError
from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.gateway.policies.admission import Priority

TRANSIT_S = 0.0003  # from pull or work to the gateway, each way


class Permit(Protocol):
    """What the model says about a query that was let in."""

    def on_queued(self, shard: int, backlog: int, now: float) -> None:
        """A shard's queue holds the request."""

    def on_reply(self, shard: int, queue_us: int, work_us: int, now: float) -> None:
        """A shard has replied."""

    def done(self, now: float) -> None:
        """The query has ended."""


Admit = Callable[["Query", float], Permit]


@dataclass(eq=False, slots=True)
class Query:
    """One query, and what became of it."""

    arrived_at: float
    deadline_s: float
    priority: Priority = "interactive"
    minimum_coverage: float = 0.0
    asker: int = 0
    cause: str = ""
    num_ok: int = 0
    ended_at: float = 0.0
    permit: Any = None
    num_open: int = 0  # shards that have not replied
    expires_at: float = field(init=False)

    def __post_init__(self) -> None:
        """Compute when its deadline falls."""
        self.expires_at = self.arrived_at + self.deadline_s


@dataclass(eq=False, slots=True)
class Shard:
    """One queue, its servers and how long a request takes at a given time."""

    work_s: Callable[[random.Random, float], float]
    num_servers: int = 1
    is_newest_first: bool = False
    order: PullOrder | None = None
    hangs: Callable[[float], bool] | None = None
    queue: deque[tuple[Query, float]] = field(default_factory=deque)
    num_busy: int = 0
    looks_at: float = 0.0  # while it hangs, the next time that it may go on

    def pop(self, now: float) -> tuple["Query", float]:
        """The request whose turn it is, and when it was queued."""
        if self.order is None:
            return self.queue.pop() if self.is_newest_first else self.queue.popleft()
        if not self.order.is_newest_first:
            query, queued_at = self.queue.popleft()
            self.order.on_oldest((now - queued_at) / query.deadline_s, 1, 0, now)
            return query, queued_at
        newest = self.queue.pop()
        oldest = [self.queue.popleft() for _ in range(min(self.order.num_drops, len(self.queue)))]
        alive = [one for one in oldest if one[0].expires_at > now]
        self.queue.extendleft(reversed(alive))
        if oldest:
            spent_share = (now - oldest[0][1]) / oldest[0][0].deadline_s
            self.order.on_oldest(spent_share, len(oldest), len(oldest) - len(alive), now)
        else:
            self.order.on_short()
        return newest


class Model:
    """Runs queries through admission and shards."""

    def __init__(self, shards: list[Shard], admit: Admit, seed: int = 1) -> None:
        self.shards = shards
        self.queries: list[Query] = []
        self.num_in_flight = 0
        self._admit = admit
        self._rng = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0

    def at(self, when: float, act: Callable[[float], None]) -> None:
        """Do something at a time."""
        self._number += 1
        heapq.heappush(self._events, (when, self._number, act))

    def run(self, arrivals: Iterator[Query]) -> list[Query]:
        """Let all of them arrive, each in its time; returns them when every one has ended."""

        def arrive(query: Query, now: float) -> None:
            self._arrive(query, now)
            wait_for_next()

        def wait_for_next() -> None:
            query = next(arrivals, None)
            if query is not None:
                self.at(query.arrived_at, partial(arrive, query))

        wait_for_next()
        events, pop = self._events, heapq.heappop
        while events:
            now, _, act = pop(events)
            act(now)
        return self.queries

    def _arrive(self, query: Query, now: float) -> None:
        self.queries.append(query)
        try:
            query.permit = self._admit(query, now)
        except OverloadedError as error:
            query.cause = error.cause
            query.ended_at = now
            return
        self.num_in_flight += 1
        query.num_open = len(self.shards)
        on_queued = query.permit.on_queued
        goes_ahead = getattr(query.permit, "goes_ahead", False)
        queued = query, now
        for number, shard in enumerate(self.shards):
            if goes_ahead:
                shard.queue.appendleft(queued)
                on_queued(number, 1, now)
            else:
                shard.queue.append(queued)
                on_queued(number, len(shard.queue), now)
            if shard.num_busy < shard.num_servers:
                self._pull(number, now)
        self.at(query.expires_at, partial(self._end, query))

    def _pull(self, number: int, now: float) -> None:
        shard = self.shards[number]
        if shard.hangs is not None and shard.hangs(now):
            if now >= shard.looks_at:
                shard.looks_at = now + 0.01
                self.at(shard.looks_at, partial(self._pull, number))
            return
        queue = shard.queue
        while queue and shard.num_busy < shard.num_servers:
            query, queued_at = shard.pop(now)
            if query.expires_at <= now:
                continue
            shard.num_busy += 1
            work_s = shard.work_s(self._rng, now)
            queue_us, work_us = int((now - queued_at) * 1e6), int(work_s * 1e6)
            self.at(now + work_s, partial(self._finish, number))
            self.at(
                now + work_s + TRANSIT_S, partial(self._reply, number, query, queue_us, work_us)
            )

    def _finish(self, number: int, now: float) -> None:
        self.shards[number].num_busy -= 1
        self._pull(number, now)

    def _reply(self, number: int, query: Query, queue_us: int, work_us: int, now: float) -> None:
        if query.ended_at:
            return
        query.num_ok += 1
        query.num_open -= 1
        query.permit.on_reply(number, queue_us, work_us, now)
        if not query.num_open:
            self._end(query, now)

    def _end(self, query: Query, now: float) -> None:
        if not query.ended_at:
            query.ended_at = now
            self.num_in_flight -= 1
            query.permit.done(now)
            query.permit = None  # the queries are kept


def poisson(
    rate: float | Callable[[float], float],
    until: float,
    seed: int,
    make: Callable[[float], Query],
) -> Iterator[Query]:
    """Poisson arrivals."""
    rng = random.Random(seed)
    now = 0.0
    while True:
        now += rng.expovariate(rate(now) if callable(rate) else rate)
        if now >= until:
            return
        yield make(now)
