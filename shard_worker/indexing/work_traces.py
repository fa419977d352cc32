"""What a worker traces beside searches: batches of the log, and the control plane's jobs."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from hedgerow.common.observability.current_trace import CURRENT
from hedgerow.common.observability.span import Attribute, Span, SpanKind
from hedgerow.common.observability.tracing import Tracing
from hedgerow.common.wire.trace_context import TraceContext

MOST_WRITES: Final = 32  # of one batch, that get a span each
SLOW_JOB_S: Final = 5.0  # some ten times what a job takes that has much to do


class WorkTraces:
    """Traces one worker's work; does nothing while tracing is off."""

    def __init__(
        self, tracing: Tracing | None = None, rng: Callable[[], float] = random.random
    ) -> None:
        """Send spans by `tracing`; `rng` is uniform over [0, 1)."""
        self._tracing = tracing
        self._rng = rng

    @property
    def is_on(self) -> bool:
        """Whether tracing is on."""
        return self._tracing is not None

    def applied(self, shard: int, traces: Iterable[bytes], took_s: float) -> None:
        """A batch of the log has been applied just now: a span for each write in it that is traced.

        Args:
            shard: whose log.
            traces: the packed contexts of the batch's entries; empty ones are of no trace.
            took_s: how long applying it took, in s.
        """
        if self._tracing is None:
            return
        found = dict.fromkeys(filter(None, traces))
        ended_ns = time.time_ns()
        attributes: dict[str, Attribute] = {"hedgerow.shard": shard}
        spans = []
        for packed in list(found)[:MOST_WRITES]:
            write = TraceContext.unpack(packed)
            if write is not None and write.is_sampled:
                drawn = TraceContext.new(is_sampled=True)
                spans.append(
                    Span(
                        "apply batch",
                        TraceContext(write.trace_id, drawn.span_id, is_sampled=True),
                        write.span_id,
                        ended_ns - int(took_s * 1e9),
                        ended_ns,
                        attributes,
                        kind=SpanKind.CONSUMER,
                        has_remote_parent=True,
                    )
                )
        if spans:
            self._tracing.offer(spans)

    @contextmanager
    def job(self, name: str, attributes: dict[str, Attribute]) -> Iterator[None]:
        """Trace a job that runs in the block: a share of them, and those that fail or are slow.

        Args:
            name: of the job.
            attributes: of its span.
        """
        if self._tracing is None:
            yield
            return
        context = TraceContext.new(is_sampled=self._rng() < self._tracing.settings.sample_rate)
        token = CURRENT.set(context.pack())
        started_ns, failure = time.time_ns(), ""
        try:
            yield
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                failure = f"{type(error).__name__}: {error}"
            raise
        finally:
            CURRENT.reset(token)
            ended_ns = time.time_ns()
            is_slow = ended_ns - started_ns >= SLOW_JOB_S * 1e9
            if failure or is_slow or context.is_sampled:
                self._tracing.offer(
                    (
                        Span(
                            name,
                            context,
                            0,
                            started_ns,
                            ended_ns,
                            attributes,
                            failure,
                            SpanKind.CONSUMER,
                        ),
                    )
                )
