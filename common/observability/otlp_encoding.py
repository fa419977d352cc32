"""Encodes spans as OTLP's protobufs, in a fifth of the time that OpenTelemetry's encoder takes.

That encoder takes 14 µs for each span, and a search over eight shards has 27 spans: if one trace
in a hundred is kept, this is 4 % of the CPU of a cheap search. The messages are few and frozen
(OTLP is stable); the numbers are those of `opentelemetry/proto/trace/v1/trace.proto`, and tests
read the result with the classes that are generated from it.
"""

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from hedgerow.common.observability.span import Attribute, Span

# Field 16, by whether the parent is in another process: sampled (1), that is known (256), and it
# is in another process (512).
_FLAGS: Final = {
    False: b"\x85\x01" + struct.pack("<I", 0x101),
    True: b"\x85\x01" + struct.pack("<I", 0x301),
}
_ERROR: Final = b"\x18\x02"  # of a status
_INT64: Final = 1 << 64
# Fields 1, 2 and 6 to 8: ids, kind and times.
_fixed = struct.Struct("<2s16s2s8sBBBQBQ").pack
# The same, and 4, the parent.
_WITH_PARENT: Final = struct.Struct("<2s16s2s8s2s8sBBBQBQ")
_with_parent = _WITH_PARENT.pack


def encode_request(
    resource: Mapping[str, Attribute], scope: str, version: str, spans: Iterable[bytes]
) -> bytes:
    """Encode an ExportTraceServiceRequest.

    Args:
        resource: attributes of what made the spans.
        scope: name of the instrumentation.
        version: version of the instrumentation.
        spans: the spans, each by `encode_span`.
    """
    of_resource = b"".join(_field(1, _key_value(*one)) for one in resource.items())
    of_scope = _text(1, scope) + _text(2, version)
    scope_spans = _field(1, of_scope) + b"".join(spans)
    return _field(1, _field(1, of_resource) + _field(2, scope_spans))


def encode_span(span: Span) -> bytes:
    """Encode one span, as it is in a request."""
    context = span.context
    if span.parent_id and not span.attributes and not span.error:  # three of four are like this
        head, tail = _bare(span.name, span.has_remote_parent)
        middle = _with_parent(
            b"\x0a\x10",
            context.trace_id.to_bytes(16, "big"),
            b"\x12\x08",
            context.span_id.to_bytes(8, "big"),
            b"\x22\x08",
            span.parent_id.to_bytes(8, "big"),
            0x30,
            span.kind,
            0x39,
            span.started_ns,
            0x41,
            span.ended_ns,
        )
        return head + middle + tail
    parts = [
        _fixed(
            b"\x0a\x10",
            context.trace_id.to_bytes(16, "big"),
            b"\x12\x08",
            context.span_id.to_bytes(8, "big"),
            0x30,
            span.kind,
            0x39,
            span.started_ns,
            0x41,
            span.ended_ns,
        ),
        _name(span.name),
        *[_attribute(name, value) for name, value in span.attributes.items()],
        _FLAGS[span.has_remote_parent],
    ]
    if span.parent_id:
        parts += (b"\x22\x08", span.parent_id.to_bytes(8, "big"))
    if span.error:
        parts.append(_field(15, _text(2, span.error) + _ERROR))
    return _field(2, b"".join(parts))


@lru_cache(maxsize=256)
def _bare(name: str, has_remote_parent: bool) -> tuple[bytes, bytes]:
    """What is before and after `_WITH_PARENT` in a span without attributes and error."""
    tail = _name(name) + _FLAGS[has_remote_parent]
    return b"\x12" + _varint(_WITH_PARENT.size + len(tail)), tail


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    return _text(5, name)


# Typed, since True equals 1.
@lru_cache(maxsize=4096, typed=True)
def _attribute(name: str, value: Attribute) -> bytes:
    return _field(9, _key_value(name, value))


def _key_value(name: str, value: Attribute) -> bytes:
    match value:
        case bool():
            encoded = b"\x10" + _varint(int(value))
        case int():
            encoded = b"\x18" + _varint(value % _INT64)
        case float():
            encoded = b"\x21" + struct.pack("<d", value)
        case _:
            encoded = _text(1, value)
    return _text(1, name) + _field(2, encoded)


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode("utf-8", "replace"))


def _field(number: int, content: bytes) -> bytes:
    length = len(content)
    if number < 16 and length < 0x80:
        return bytes((number << 3 | 2, length)) + content
    return _varint(number << 3 | 2) + _varint(length) + content


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
