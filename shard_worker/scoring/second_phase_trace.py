"""Traces the second phase of a search in a scorer process."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hedgerow.common.observability.span import Attribute
from hedgerow.common.observability.tracing import Tracing, tracing_of
from hedgerow.common.settings.tracing import TracingSettings
from hedgerow.common.wire.trace_context import TraceContext

SCORER_GATHER_S = 0.25  # spans that wait for longer would be lost when the process ends


class SecondPhaseTrace:
    """The trace of the search that is being scored.

    Attributes:
        ranking_us: when the second phase began, from the start of the work, and how long it took,
            in µs; None before it has begun, and if a span was made of it here.
    """

    def __init__(self, span: TraceContext, tracing: Tracing, shard: int, began: float) -> None:
        self.ranking_us: tuple[int, int] | None = None
        self._span = span
        self._tracing = tracing
        self._shard = shard
        self._began = began

    @classmethod
    def of(
        cls, packed: bytes, tracing: Tracing | None, shard: int, began: float
    ) -> "SecondPhaseTrace | None":
        """Return the trace that `packed` names; None if it names none, or tracing is off."""
        context = TraceContext.unpack(packed)
        if context is None or tracing is None:
            return None
        return cls(context.of_shard(shard), tracing, shard, began)

    @contextmanager
    def ranking(self, profile: str, num_candidates: int) -> Iterator[None]:
        """Trace the second phase, which runs in the block."""
        started = time.monotonic()
        attributes: dict[str, Attribute] = {
            "hedgerow.shard": self._shard,
            "hedgerow.rank_profile": profile,
            "hedgerow.candidates": num_candidates,
        }
        with self._tracing.users_span("second phase", self._span, attributes):
            yield
        if not self._span.is_sampled:
            took_s = time.monotonic() - started
            self.ranking_us = int((started - self._began) * 1e6), int(took_s * 1e6)


def scorer_tracing(settings: TracingSettings, worker_id: str) -> Tracing | None:
    """Let second phases make spans; after the users' modules were imported."""
    instance = f"{worker_id}/scorer-{os.getpid()}"
    tracing = tracing_of(settings, "hedgerow-worker", instance, SCORER_GATHER_S)
    if tracing is not None:
        tracing.start()
        tracing.provide_tracers()
    return tracing
