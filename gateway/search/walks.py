"""Begins each search's trace, and has those logged that were slow, and traced that are kept."""

import math
from collections.abc import Callable

from hedgerow.common.observability.current_trace import CURRENT
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.search_tracer import SearchTracer
from hedgerow.gateway.search.slow_queries import SlowQueries
from hedgerow.gateway.search.walk import SearchTrace, Walk


class Walks:
    """Tells of one gateway's searches."""

    __slots__ = ("_do_workers_trace", "_slow", "_slow_s", "_tracer")

    def __init__(
        self,
        slow_ms: float,
        tracer: SearchTracer | None = None,
        do_workers_trace: Callable[[], bool] = lambda: False,
    ) -> None:
        """Tell of searches that take `slow_ms` or longer.

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
        span, caller_span = tracer.begin(query.traceparent, now)
        CURRENT.set(span)
        return SearchTrace(span, caller_span, self._do_workers_trace())

    def wants(
        self, trace: SearchTrace | None, took_s: float, gather: Gather, num_shards: int
    ) -> bool:
        """Whether there is something to tell of a search that was answered.

        Args:
            trace: its trace; None while tracing is off.
            took_s: how long it took, in s.
            gather: how the parts of the shards that were asked have ended.
            num_shards: shards of the cluster.
        """
        if trace is None or took_s >= self._slow_s:
            return took_s >= self._slow_s
        return trace.is_sampled or gather.num_ok < num_shards or bool(gather.hedged)

    def end(self, walk: Walk) -> None:
        """A search has ended, in any way."""
        is_slow = walk.ended_at - walk.started >= self._slow_s
        if is_slow:
            self._slow.tell(walk)
        if self._tracer is not None and walk.trace is not None:
            self._tracer.end(walk, walk.trace, is_slow=is_slow)
