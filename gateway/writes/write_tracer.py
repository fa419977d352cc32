"""Traces writes: when one has ended, its spans are made, if its trace is kept.

load, put or delete
├── log            until everything is in the shards' logs
├── apply          until the replicas have applied it, if that is waited for
├── rank           until term statistics count it, if that is waited for
└── apply batch    made by the worker that has applied a part of it, if the trace is sampled
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from hedgerow.common.errors import BadRequestError, NotFoundError
from hedgerow.common.observability.current_trace import CURRENT
from hedgerow.common.observability.span import Attribute, Span, SpanKind
from hedgerow.common.wire.trace_context import TraceContext
from hedgerow.gateway.policies.tail_sampling import TailSampling
from hedgerow.gateway.search.search_tracer import SpanSink

# The caller's fault, or its wish: such a write is kept only if it is sampled.
_CALLERS: Final = (BadRequestError, NotFoundError, asyncio.CancelledError)


class WriteTrace:
    """One write, as far as it has come.

    Attributes:
        trace_id: names its trace; None while tracing is off.
        to_workers: the context that goes into the log, packed; None for none.
        attributes: of its span.
    """

    def __init__(self, context: TraceContext | None = None, now: float = 0.0) -> None:
        """Begin at `now`, on the event loop's clock; without a context nothing is noted."""
        self.trace_id = None if context is None else context.hex_id
        self.to_workers = context.pack() if context is not None and context.is_sampled else None
        self.attributes: dict[str, Attribute] = {}
        self.steps: list[tuple[str, float, float]] = []
        self._at = now
        self._is_on = context is not None

    def end_step(self, name: str) -> None:
        """A step has ended that began when the one before it did, or the write."""
        if self._is_on:
            began, self._at = self._at, asyncio.get_running_loop().time()
            self.steps.append((name, began, self._at))


class WriteTracer:
    """Traces the writes of one gateway."""

    def __init__(
        self,
        sampling: TailSampling,
        sink: SpanSink,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Trace, as `SearchTracer` does."""
        self._sampling = sampling
        self._sink = sink
        self._wall_clock_ns = wall_clock_ns

    @contextmanager
    def trace(self, name: str, collection: str, traceparent: str) -> Iterator[WriteTrace]:
        """Trace what is done in the block."""
        now = asyncio.get_running_loop().time
        started = now()
        packed, caller_span = self._sampling.begin(traceparent, started)
        context = TraceContext.unpack(packed) or TraceContext.new(is_sampled=False)
        write = WriteTrace(context, started)
        write.attributes["hedgerow.collection"] = collection
        token = CURRENT.set(context.pack())
        failure = ""
        is_kept = context.is_sampled
        try:
            yield write
        except BaseException as error:
            failure = f"{type(error).__name__}: {error}"
            is_kept = is_kept or not isinstance(error, _CALLERS)
            raise
        finally:
            CURRENT.reset(token)
            ended = now()
            if is_kept and self._sampling.keeps(ended, is_sampled=context.is_sampled):
                offset_ns = self._wall_clock_ns() - int(ended * 1e9)

                def ns(instant: float) -> int:
                    return int(instant * 1e9) + offset_ns

                root = Span(
                    name,
                    context,
                    caller_span,
                    ns(started),
                    ns(ended),
                    write.attributes,
                    failure,
                    SpanKind.SERVER,
                    has_remote_parent=caller_span != 0,
                )
                steps = [
                    Span(step, context.child(number), context.span_id, ns(began), ns(end), {})
                    for number, (step, began, end) in enumerate(write.steps, start=1)
                ]
                self._sink.offer([root, *steps])


@contextmanager
def traced(
    tracer: WriteTracer | None, name: str, collection: str, traceparent: str
) -> Iterator[WriteTrace]:
    """Trace what is done in the block, unless tracing is off."""
    if tracer is None:
        yield WriteTrace()
        return
    with tracer.trace(name, collection, traceparent) as write:
        yield write
