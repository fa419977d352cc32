"""The trace of what runs now, which log lines name."""

from contextvars import ContextVar
from typing import Any, Final

from hedgerow.common.wire.trace_context import TraceContext

# None outside of traces, and while tracing is off.
CURRENT: Final[ContextVar[TraceContext | None]] = ContextVar("trace", default=None)


def add_trace_id(_logger: object, _method: str, fields: Any) -> Any:
    """Add the id of the current trace to a log line; a processor of structlog."""
    trace = CURRENT.get()
    if trace is not None:
        fields.setdefault("trace_id", trace.hex_id)
    return fields
