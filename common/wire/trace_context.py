"""The context of a trace: what travels from a caller through the gateway to a user's function.

W3C Trace Context (https://www.w3.org/TR/trace-context/) says what a `traceparent` header looks
like. Between our own processes, a context is 25 bytes.

A gateway knows only at the end of a search whether its trace is kept, and makes the spans then. A
user's function makes its spans while it runs, and they must name their parent. So the ids of the
spans of a search are not drawn when the spans are made: `child` derives them from one that was.
"""

import random
import re
from typing import Final

import msgspec

_ID_BYTES: Final = 16
_SPAN_BYTES: Final = 8
_PACKED_BYTES: Final = _ID_BYTES + _SPAN_BYTES + 1
_MASK: Final = (1 << 64) - 1
_NEW_BYTES: Final = _ID_BYTES + _SPAN_BYTES
_SAMPLED: Final = 1  # the first bit of the flags
_FIRST_SHARD: Final = 16  # a span's other children have smaller numbers
_draw: Final = random.getrandbits
# A later version may append members, which begin with a dash; 00 has none, and ff is invalid.
_parse = re.compile(
    r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
).fullmatch


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """A span, as its children name it.

    Attributes:
        trace_id: of the trace, 128 bits; not 0.
        span_id: of the span, 64 bits; not 0.
        is_sampled: whether its trace is certain to be kept, so that spans are worth making.
    """

    trace_id: int
    span_id: int
    is_sampled: bool

    @classmethod
    def new(cls, *, is_sampled: bool) -> "TraceContext":
        """Return the first span of a new trace."""
        return cls(random.getrandbits(128) or 1, random.getrandbits(64) or 1, is_sampled)

    @classmethod
    def parse(cls, header: str) -> "TraceContext | None":
        """Read a `traceparent`; None if it is not valid, so that a new trace begins."""
        match = _parse(header)
        if match is None:
            return None
        version, trace_id, span_id, flags, rest = match.groups()
        context = cls(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))
        if (version == "00" and rest) or not context.trace_id or not context.span_id:
            return None
        return context

    @classmethod
    def unpack(cls, data: bytes) -> "TraceContext | None":
        """Read what `pack` has written; None if it is anything else."""
        if len(data) != _PACKED_BYTES:
            return None
        trace_id = int.from_bytes(data[:_ID_BYTES], "big")
        span_id = int.from_bytes(data[_ID_BYTES:-1], "big")
        return cls(trace_id, span_id, bool(data[-1] & _SAMPLED)) if trace_id and span_id else None

    @property
    def hex_id(self) -> str:
        """The trace's id, as logs and answers show it."""
        return f"{self.trace_id:032x}"

    def traceparent(self) -> str:
        """Return the context as a `traceparent` header."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.is_sampled:02x}"

    def pack(self) -> bytes:
        """Return the context as it is sent between our own processes."""
        return b"%b%b%c" % (
            self.trace_id.to_bytes(_ID_BYTES, "big"),
            self.span_id.to_bytes(_SPAN_BYTES, "big"),
            self.is_sampled,
        )

    def of_shard(self, shard: int) -> "TraceContext":
        """Return the span of a shard's part of what this span stands for."""
        return self.child(_FIRST_SHARD + shard)

    def child(self, number: int) -> "TraceContext":
        """Return one of the span's children: the same for the same number, in every process."""
        return TraceContext(self.trace_id, _mixed(self.span_id, number), self.is_sampled)


def new_packed(*, is_sampled: bool) -> bytes:
    """Return the first span of a new trace as `pack` does, for a third of the price."""
    return (_draw(8 * _NEW_BYTES) << 8 | is_sampled).to_bytes(_PACKED_BYTES, "big")


def draw_unsampled(num: int) -> list[bytes]:
    """Return the first spans of `num` new traces that are not sampled, as `new_packed` does."""
    drawn = _draw(8 * _NEW_BYTES * num).to_bytes(_NEW_BYTES * num, "big")
    return [drawn[at : at + _NEW_BYTES] + b"\0" for at in range(0, len(drawn), _NEW_BYTES)]


def hex_id_of(packed: bytes) -> str:
    """Return the id of the trace of a packed context, as logs and answers show it."""
    return packed[:_ID_BYTES].hex()


def is_sampled(packed: bytes) -> bool:
    """Return whether the trace of a packed context is certain to be kept."""
    return packed[-1] == _SAMPLED


def _mixed(span_id: int, number: int) -> int:
    """Another 64 bits for each number: the `number`th of splitmix64 after the seed `span_id`."""
    mixed = (span_id + (number + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & _MASK
    return mixed ^ (mixed >> 31) or 1  # 0 is no id
