"""Traces searches: when one has ended, its spans are made, if its trace is kept.

What happened in its shards is known from the timings that their replies carry. The spans of the
other searches are never made, so they cost next to nothing. Spans are made of several searches in
a row: in between, other code takes the processor's caches, and one takes five times as long.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from hedgerow.common.errors import BadRequestError
from hedgerow.common.observability.span import Span
from hedgerow.common.wire.trace_context import (
    TraceContext,
    draw_unsampled,
    hex_id_of,
    is_sampled,
    new_packed,
)
from hedgerow.gateway.policies.tail_sampling import TailSampling
from hedgerow.gateway.search.walk import SearchTrace, Walk
from hedgerow.gateway.search.walk_spans import spans_of

_NUM_DRAWN: Final = 64
# Searches whose spans are made together, and how long they wait for each other, in s.
NUM_TOGETHER: Final = 16
GATHER_S: Final = 1.0
# The caller's fault, or its wish: such a search is kept only if it is sampled or slow.
_CALLERS: Final = (BadRequestError, asyncio.CancelledError)


class _Kept(NamedTuple):
    """A search whose trace is kept.

    Attributes:
        walk: the search.
        trace: its trace.
        offset_ns: from the event loop's clock to the time since 1970.
        reason: why it is kept.
    """

    walk: Walk
    trace: SearchTrace
    offset_ns: int
    reason: str


class SpanSink(Protocol):
    """Takes spans without waiting."""

    def offer(self, spans: Sequence[Span]) -> None:
        """Send spans, or drop them."""


class SearchTracer:
    """Traces the searches of one gateway."""

    def __init__(
        self,
        sampling: TailSampling,
        sink: SpanSink,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Trace.

        Args:
            sampling: decides which traces are kept.
            sink: takes the spans.
            wall_clock_ns: in ns since 1970.
        """
        self._sampling = sampling
        self._sink = sink
        self._wall_clock_ns = wall_clock_ns
        self._drawn: list[SearchTrace] = []  # for searches to come
        self._kept: list[_Kept] = []  # of which no spans have been made yet
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, traceparent: str, now: float) -> SearchTrace:
        """Begin a search's trace; see `TailSampling.begin`."""
        if traceparent:
            span, caller_span = self._sampling.begin(traceparent, now)
            return SearchTrace(span, caller_span, hex_id_of(span), is_sampled(span))
        if self._sampling.samples(now):
            span = new_packed(is_sampled=True)
            return SearchTrace(span, 0, hex_id_of(span), is_sampled=True)
        # Drawn for the next searches as well: code that runs in a row finds its data in the
        # processor's caches.
        if not self._drawn:
            self._drawn = [
                SearchTrace(span, 0, hex_id_of(span), is_sampled=False)
                for span in draw_unsampled(_NUM_DRAWN)
            ]
        return self._drawn.pop()

    def end(self, walk: Walk, trace: SearchTrace, *, is_slow: bool) -> None:
        """A search of a trace has ended."""
        is_chosen = trace.is_sampled
        reason = _why_kept(walk, is_slow=is_slow) or ("sampled" if is_chosen else "")
        if not reason or not self._sampling.keeps(walk.ended_at, is_sampled=is_chosen):
            return
        offset_ns = self._wall_clock_ns() - int(walk.ended_at * 1e9)
        self._kept.append(_Kept(walk, trace, offset_ns, reason))
        # The replies to a fetch may be large, and an error may refer to an answer: they are not to
        # be held any longer.
        is_large = walk.fetch is not None or walk.error is not None
        if is_large or len(self._kept) >= NUM_TOGETHER:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self.flush)

    def flush(self) -> None:
        """Make the spans of all searches that have ended, without waiting for others."""
        kept, self._kept = self._kept, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for walk, trace, offset_ns, reason in kept:
            span = TraceContext.unpack(trace.span)
            if span is not None:
                self._sink.offer(spans_of(walk, span, trace.caller_span, offset_ns, reason))


def _why_kept(walk: Walk, *, is_slow: bool) -> str:
    """Why a search's trace is worth keeping though it was not sampled; "" if it is not."""
    error = walk.error
    if error is not None and not isinstance(error, _CALLERS):
        return "failed"
    if error is None and walk.is_partial:
        return "partial"
    if walk.is_hedged:
        return "hedged"
    return "slow" if is_slow else ""
