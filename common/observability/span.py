"""A span as it is made here: from timings, after the fact, and without OpenTelemetry."""

from collections.abc import Mapping
from enum import IntEnum

import msgspec

from hedgerow.common.wire.trace_context import TraceContext

Attribute = str | int | float | bool


class SpanKind(IntEnum):
    """Which side of a request a span is; names and numbers are OTLP's."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    CONSUMER = 5


class Span(msgspec.Struct, frozen=True, gc=False):
    """One span that has ended.

    Attributes:
        name: what was done; there are few different names.
        context: the span itself.
        parent_id: the span that it is a part of; 0 for none.
        started_ns: when it began, in ns since 1970.
        ended_ns: when it ended, likewise.
        attributes: further facts about it.
        error: why it failed; "" if it did not.
        kind: which side of a request it is.
        has_remote_parent: whether another process made the parent.
    """

    name: str
    context: TraceContext
    parent_id: int
    started_ns: int
    ended_ns: int
    attributes: Mapping[str, Attribute]
    error: str = ""
    kind: SpanKind = SpanKind.INTERNAL
    has_remote_parent: bool = False
