"""Cuts a stream of JSON into its documents: the items of an array, or objects one after another.

Nothing is parsed and nothing larger than a document is kept. The cuts are where brackets and commas
outside of strings say; whether a document is JSON is for the gateway to say.
"""

import re
from collections.abc import Iterator
from typing import IO, Final, NamedTuple

_READ_BYTES: Final = 1024 * 1024
# A string without escapes as a whole, or else a byte that means something.
_OUTSIDE: Final = re.compile(rb'"[^"\\]*"|["\[\]{},]')
_INSIDE: Final = re.compile(rb'["\\]')
_SPACE: Final = b" \t\r\n"


class Value(NamedTuple):
    """A document as it was written.

    Attributes:
        number: counted from 1.
        text: JSON in one line; only its beginning if it is too long.
        is_long: whether it is longer than allowed.
        is_whole: whether the stream did not end within it.
    """

    number: int
    text: bytes
    is_long: bool = False
    is_whole: bool = True


def json_values(stream: IO[bytes], max_bytes: int) -> Iterator[Value]:
    """Yield each item of the array that the stream holds, or each object if it holds no array.

    Args:
        stream: UTF-8, with or without a byte order mark.
        max_bytes: what is kept of one document, at most.
    """
    begin = stream.read(_READ_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)
    while not begin and (more := stream.read(_READ_BYTES)):
        begin = more.lstrip(_SPACE)
    cutter = _Cutter(is_array=begin.startswith(b"["), max_bytes=max_bytes)
    yield from cutter.feed(begin[1:] if cutter.is_array else begin)
    while piece := stream.read(_READ_BYTES):
        yield from cutter.feed(piece)
    yield from cutter.end()


class _Cutter:
    """Follows brackets and strings from one piece of the stream to the next."""

    def __init__(self, *, is_array: bool, max_bytes: int) -> None:
        self.is_array = is_array
        self._max_bytes = max_bytes
        self._number = 0
        self._text = bytearray()
        self._num_bytes = 0  # of the document so far, whether kept or not
        self._depth = 0  # of brackets within the document
        self._in_string = False
        self._is_escaped = False  # whether the next byte follows a backslash
        self._has_ended = False  # the array

    def feed(self, piece: bytes) -> Iterator[Value]:
        """Take more of the stream; yields the documents that end in it."""
        start = at = 0
        while True:
            if self._is_escaped and at < len(piece):
                self._is_escaped = False
                at += 1
            found = (_INSIDE if self._in_string else _OUTSIDE).search(piece, at)
            if found is None:
                self._keep(piece[start:])
                return
            at = found.end()
            if (end := self._end_of_document(found)) is not None:
                self._keep(piece[start:end])
                start = at
                yield from self._cut()

    def _end_of_document(self, mark: re.Match[bytes]) -> int | None:
        """Follow one mark; returns where the document ends, if it does there."""
        match mark[0]:
            case b'"':
                self._in_string = not self._in_string
            case b"\\":
                self._is_escaped = True
            case b"[" | b"{":
                self._depth += 1
            case b"]" | b"}" if self.is_array and not self._depth:
                self._has_ended = True
                return mark.start()
            case b"]" | b"}":
                self._depth = max(0, self._depth - 1)
                return None if self.is_array or self._depth else mark.end()
            case b"," if not self._depth:
                return mark.start()
        return None  # a whole string, or a comma within the document

    def end(self) -> Iterator[Value]:
        """The stream has ended."""
        is_open = self._depth > 0 or self._in_string
        is_rest = self.is_array and not self._has_ended
        yield from self._cut(is_whole=not (is_open or is_rest))

    def _keep(self, part: bytes) -> None:
        self._num_bytes += len(part)
        if (room := self._max_bytes + 1 - len(self._text)) > 0:
            self._text += part[:room]

    def _cut(self, *, is_whole: bool = True) -> Iterator[Value]:
        # Within a string JSON has no line ends, so these are white space.
        text = bytes(self._text).replace(b"\n", b" ").replace(b"\r", b" ").strip(_SPACE)
        is_long = self._num_bytes > self._max_bytes
        self._text.clear()
        self._num_bytes = 0
        # An array that ends after a comma lacks items, of which nothing is there to be kept.
        if text or not is_whole:
            self._number += 1
            yield Value(self._number, text, is_long, is_whole)
