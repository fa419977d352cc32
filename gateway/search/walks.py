"""Begins each search's trace, logs the slow searches, and traces those whose trace is kept."""

import math
from collections.abc import Callable

from hedgerow.common.observability.current_trace import CURRENT
from hedgerow.gateway.search.documents.fetch_walk import FetchWalk
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.planned_search import PlannedSearch
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.search_tracer import SearchTracer
from hedgerow.gateway.search.slow_queries import SlowQueries
from hedgerow.gateway.search.walk import SearchTrace, Walk


class Walks:
    """Logs and traces one gateway's searches."""

    __slots__ = ("_do_workers_trace", "_slow", "_slow_s", "_tracer")

    def __init__(
        self,
        slow_ms: float,
        tracer: SearchTracer | None = None,
        do_workers_trace: Callable[[], bool] = lambda: False,
    ) -> None:
        """Log searches that take `slow_ms` or longer.

        Args:
            slow_ms: in ms; 0 for none.
            tracer: makes traces; None while tracing is off.
            do_workers_trace: whether every live worker takes the context of a trace.
        """
        self._slow_s = slow_ms / 1000 or math.inf
        self._slow = SlowQueries()
        self._tracer = tracer
        self._do_workers_trace = do_workers_trace

    def begin(self, query: SearchQuery, now: float) -> SearchTrace | None:
        """A search has been admitted; returns its trace, None while tracing is off."""
        tracer = self._tracer
        if tracer is None:
            return None
        trace = tracer.begin(query.traceparent, now)
        CURRENT.set(trace.span)
        return trace

    def to_workers(self, trace: SearchTrace) -> bytes | None:
        """The context that the workers get with a search, packed; None for none."""
        return trace.span if self._do_workers_trace() else None

    def fetch_to_workers(self, trace: SearchTrace) -> bytes | None:
        """As `to_workers`, with a fetch."""
        return trace.fetch if self._do_workers_trace() else None

    def answered(
        self, search: PlannedSearch, gather: Gather, now: float, fetch: FetchWalk | None
    ) -> None:
        """A search was answered; most are neither logged nor traced, and cost only this decision.

        Args:
            search: what was asked.
            gather: how the parts of the shards that were asked have ended.
            now: when it ended.
            fetch: the fetch, if there was one.
        """
        if now - search.started < self._slow_s:
            trace = search.trace
            if trace is None:
                return
            if (
                not trace.is_sampled
                and gather.num_ok == len(search.plan.breakers.shards)
                and not gather.hedged
                and (fetch is None or not (fetch.is_partial or fetch.is_hedged))
            ):
                return
        self.end(walk_of(search, gather, now, fetch))

    def end(self, walk: Walk) -> None:
        """A search has ended, in any way."""
        is_slow = walk.ended_at - walk.started >= self._slow_s
        if is_slow:
            self._slow.tell(walk)
        if self._tracer is not None and walk.trace is not None:
            self._tracer.end(walk, walk.trace, is_slow=is_slow)


def walk_of(
    search: PlannedSearch,
    gather: Gather | None,
    ended_at: float,
    fetch: FetchWalk | None = None,
    error: BaseException | None = None,
) -> Walk:
    """Describe a search that was planned: to which there is an answer, or an error instead."""
    return Walk(
        search.query,
        search.trace,
        search.started,
        ended_at,
        search.payload.profile,
        search.plan,
        gather,
        fetch,
        error,
    )
