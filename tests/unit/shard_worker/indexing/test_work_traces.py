"""What a worker traces beside searches: batches of the log, and jobs."""

from collections.abc import Sequence
from typing import Any

import pytest

from hedgerow.common.errors import WorkError
from hedgerow.common.observability.current_trace import CURRENT
from hedgerow.common.observability.span import Span
from hedgerow.common.settings.tracing import TracingSettings
from hedgerow.common.wire.trace_context import TraceContext
from hedgerow.shard_worker.indexing.work_traces import MOST_WRITES, WorkTraces


class FakeTracing:
    """Keeps the spans."""

    def __init__(self) -> None:
        self.settings = TracingSettings(enabled=True, sample_rate=0.1)
        self.spans: list[Span] = []

    def offer(self, spans: Sequence[Span]) -> None:
        """Keep them."""
        self.spans += spans


def traces(drawn: float = 0.5) -> tuple[WorkTraces, FakeTracing]:
    """What traces, and where the spans come."""
    tracing: Any = FakeTracing()
    return WorkTraces(tracing, lambda: drawn), tracing


def test_each_traced_write_of_a_batch_has_a_span_in_its_own_trace() -> None:
    """Once, however many of its entries are in the batch; nonsense and unsampled ones have none."""
    work, tracing = traces()
    one, other = (TraceContext(number, 7, is_sampled=True) for number in (1, 2))
    unsampled = TraceContext(3, 7, is_sampled=False)
    packed = [one.pack(), b"", other.pack(), one.pack(), b"nonsense", unsampled.pack()]
    work.applied(4, packed, 0.25)
    assert [span.context.trace_id for span in tracing.spans] == [1, 2]
    for span in tracing.spans:
        assert (span.name, span.parent_id) == ("apply batch", 7)
        assert span.ended_ns - span.started_ns == 250_000_000
        assert span.attributes == {"hedgerow.shard": 4}


def test_a_batch_of_many_writes_has_a_bounded_number_of_spans() -> None:
    """Thousands of single writes may be applied at once."""
    work, tracing = traces()
    work.applied(0, (TraceContext(n, 7, is_sampled=True).pack() for n in range(1, 1000)), 0.1)
    assert len(tracing.spans) == MOST_WRITES


@pytest.mark.parametrize(("drawn", "num_spans"), [(0.5, 0), (0.05, 1)])
def test_a_share_of_the_jobs_is_traced(drawn: float, num_spans: int) -> None:
    """What it logs names its trace in any case."""
    work, tracing = traces(drawn)
    with work.job("sum", {"hedgerow.uid": "u"}):
        assert CURRENT.get()
    assert not CURRENT.get()
    assert len(tracing.spans) == num_spans


def test_a_job_that_fails_is_traced() -> None:
    """Its trace has the reason, which is also passed on to the runner of the job."""
    work, tracing = traces()
    with pytest.raises(WorkError), work.job("sum", {}):
        raise WorkError("no room")
    (span,) = tracing.spans
    assert span.error == "WorkError: no room"


def test_without_tracing_nothing_is_noted() -> None:
    """A job runs as ever, outside of any trace."""
    work = WorkTraces()
    work.applied(0, [TraceContext(1, 7, is_sampled=True).pack()], 0.1)
    with work.job("sum", {}):
        assert not CURRENT.get()
