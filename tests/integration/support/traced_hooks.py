"""Users' functions that make spans of their own."""

import time
from typing import Any

from opentelemetry import trace

Document = dict[str, Any]
_tracer = trace.get_tracer("trees")


def rank(query: str, documents: list[Document]) -> list[float]:
    """Rank all alike, in a span of its own; raise, or dawdle, if the query says so."""
    with _tracer.start_as_current_span("my ranking") as span:
        span.set_attribute("num_documents", len(documents))
        if "raise" in query:
            raise ValueError("no score for this")
        if "dawdle" in query:
            time.sleep(0.05)
        return [1.0] * len(documents)


def enrich(documents: list[Document]) -> list[Document]:
    """Add the id of the trace, in a span of its own."""
    with _tracer.start_as_current_span("my enriching"):
        found = trace.get_current_span().get_span_context().trace_id
        return [{**document, "trace": f"{found:032x}"} for document in documents]
