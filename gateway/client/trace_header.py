"""Continues the caller's trace in the gateway, if the caller's program has one."""

import sys
from typing import Any


def traceparent() -> str | None:
    """Return the active span of OpenTelemetry as a `traceparent` header; None if there is none.

    OpenTelemetry is not imported for this: a program that has not imported it has no span.
    """
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None or not hasattr(api, "get_current_span"):  # it is being imported
        return None
    span = api.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
