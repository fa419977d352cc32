"""Splits NDJSON from chunks of bytes into lines.

Source: https://github.com/ndjson/ndjson-spec (a JSON text per line; empty lines are skipped).
"""

from collections.abc import Iterator

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Line = tuple[int, bytes | None]


class LineSplitter:
    """Cuts a stream of bytes into lines; keeps one line and one chunk in memory."""

    def __init__(self, max_line_bytes: int) -> None:
        """Mark lines of more than `max_line_bytes`, and do not keep them."""
        self._max_bytes = max_line_bytes
        self._line = 0
        self._rest = bytearray()  # grows in place, which is fast for small chunks
        self._is_overlong = False  # whether the current line exceeds the limit

    @property
    def has_part(self) -> bool:
        """Whether part of a line has arrived."""
        return bool(self._rest) or self._is_overlong

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """Take a chunk; the iterator of the previous one must be exhausted.

        A chunk may contain as many lines as bytes, so they are cut one by one.

        Yields:
            The lines that it completes, numbered from 1; None for one over the limit.
        """
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            if start == 0:
                self._extend(chunk[:end])
                yield self._end()
            else:
                self._line += 1
                yield self._line, chunk[start:end] if end - start <= self._max_bytes else None
            start = end + 1
        self._extend(chunk[start:])

    def end(self) -> Iterator[Line]:
        """The stream has ended; a last line without a newline counts too."""
        if self.has_part:
            yield self._end()

    def forget(self) -> None:
        """Drop the current line, since the stream has broken off."""
        self._rest, self._is_overlong = bytearray(), False

    def _extend(self, part: bytes) -> None:
        if self._is_overlong:
            return
        if len(self._rest) + len(part) > self._max_bytes:
            self._rest, self._is_overlong = bytearray(), True
        else:
            self._rest += part

    def _end(self) -> Line:
        line = None if self._is_overlong else bytes(self._rest)
        if self._line == 0 and line is not None:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        self._rest, self._is_overlong = bytearray(), False
        self._line += 1
        return self._line, line
