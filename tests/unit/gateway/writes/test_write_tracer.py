"""The traces of writes: which are kept, and what goes into the log."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from hedgerow.common.errors import BadRequestError, UnavailableError
from hedgerow.common.observability.current_trace import CURRENT
from hedgerow.common.observability.span import Span
from hedgerow.common.settings.tracing import TracingSettings
from hedgerow.common.wire.trace_context import TraceContext
from hedgerow.gateway.policies.tail_sampling import TailSampling
from hedgerow.gateway.writes.write_tracer import WriteTracer, traced
from tests.support.virtual_time import run_virtually

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Sink:
    """Keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def offer(self, spans: Sequence[Span]) -> None:
        """Keep them."""
        self.spans += spans


async def written(drawn: float, error: BaseException | None = None) -> tuple[list[Span], Any]:
    """The spans of a load in two steps, and what went into the log."""
    sink = Sink()
    loop = asyncio.get_running_loop()
    tracer = WriteTracer(
        TailSampling(TracingSettings(enabled=True, sample_rate=0.1), lambda: drawn),
        sink,
        wall_clock_ns=lambda: int(loop.time() * 1e9),
    )
    caught = suppress(UnavailableError, BadRequestError, asyncio.CancelledError)
    with caught, traced(tracer, "load", "things", CALLER) as write:
        assert CURRENT.get()
        assert write.trace_id == CALLER[3:35]
        await asyncio.sleep(1.0)
        write.end_step("log")
        if error is not None:
            raise error
        await asyncio.sleep(2.0)
        write.end_step("apply")
    assert not CURRENT.get()
    return sink.spans, write.to_workers


def test_a_sampled_write_is_traced_to_the_workers() -> None:
    """Its steps follow each other below it, it is below its caller, and the log has its span."""
    (root, log, apply), to_workers = run_virtually(written(0.05))
    assert (root.name, log.name, apply.name) == ("load", "log", "apply")
    assert f"{root.parent_id:016x}" == CALLER[36:52]
    assert {log.parent_id, apply.parent_id} == {root.context.span_id}
    assert log.ended_ns - log.started_ns == pytest.approx(1e9)
    assert apply.started_ns == log.ended_ns
    assert root.ended_ns - root.started_ns == pytest.approx(3e9)
    assert TraceContext.unpack(to_workers) == root.context


def test_of_the_others_those_that_fail_are_kept() -> None:
    """But not for a fault or a wish of the caller's; and workers do not hear of them."""
    assert run_virtually(written(0.5)) == ([], None)
    (root, _), to_workers = run_virtually(written(0.5, UnavailableError("away", 1.0)))
    assert root.error == "UnavailableError: away"
    assert to_workers is None
    for error in (BadRequestError("id", "is bad"), asyncio.CancelledError()):
        assert run_virtually(written(0.5, error))[0] == []


def test_without_a_tracer_nothing_is_noted() -> None:
    """The same code runs, and names no trace."""

    async def scenario() -> None:
        with traced(None, "load", "things", CALLER) as write:
            write.end_step("log")
            assert (write.trace_id, write.to_workers, write.steps) == (None, None, [])
            assert not CURRENT.get()

    run_virtually(scenario())
