"""The trace of what runs now, which log lines name."""

from contextvars import ContextVar
from typing import Any, Final

from hedgerow.common.wire.trace_context import hex_id_of

# A packed `TraceContext`; b"" outside of traces, and while tracing is off.
CURRENT: Final[ContextVar[bytes]] = ContextVar("trace", default=b"")


def add_trace_id(_logger: object, _method: str, fields: Any) -> Any:
    """Add the id of the current trace to a log line; a processor of structlog."""
    trace = CURRENT.get()
    if trace:
        fields.setdefault("trace_id", hex_id_of(trace))
    return fields
