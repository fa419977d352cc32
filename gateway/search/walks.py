"""Begins each search's walk, and when it has ended has it logged if it was slow, and traced."""

import math
from collections.abc import Callable

from hedgerow.common.observability.current_trace import CURRENT
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.search_tracer import SearchTracer
from hedgerow.gateway.search.slow_queries import SlowQueries
from hedgerow.gateway.search.walk import Walk


class Walks:
    """The walks of one gateway's searches."""

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

    def begin(self, query: SearchQuery, now: float) -> Walk:
        """A search has been admitted; it began at `now`."""
        tracer = self._tracer
        if tracer is None:
            return Walk(query, now)
        trace, caller_span = tracer.begin(query.traceparent, now)
        CURRENT.set(trace)
        return Walk(query, now, trace, caller_span, self._do_workers_trace())

    def end(self, walk: Walk, now: float, error: BaseException | None) -> None:
        """A search has ended at `now`, and if by an error, by this one."""
        is_slow = now - walk.started >= self._slow_s
        if is_slow:
            self._slow.tell(walk, now)
        if self._tracer is not None:
            self._tracer.end(walk, now, error, is_slow=is_slow)
