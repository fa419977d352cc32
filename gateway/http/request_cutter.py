"""Cuts what a connection receives into pieces, so that a request is bounded before it is parsed.

The parser takes whatever it is given, and keeps a header field until it ends: one of 300 MB, or
thousands of requests in one packet. So it is given pieces. The first bytes that the parser would
keep beyond a limit are not given to it, and no piece reaches into the request after the one that
it ends.

Each head, and each body in chunks, ends with an empty line, which the parser takes in no other form
than CR LF CR LF. A piece ends there at the latest.
"""

from typing import Final

from gateway.http.refusal import RefusedError

_MAX_CHUNKED_PIECE: Final = 8_192
_END: Final = b"\r\n\r\n"


class RequestCutter:
    """Where the next piece ends.

    Attributes:
        head_bytes: bytes of the current head so far, empty lines before it included.
        is_chunked: whether a body in chunks is under way.
    """

    __slots__ = (
        "_body_left",
        "_idle_bytes",
        "_max_head_bytes",
        "_max_headers",
        "_num_lines",
        "_tail",
        "head_bytes",
        "is_chunked",
    )

    def __init__(self, max_head_bytes: int, max_headers: int) -> None:
        """Allow heads of `max_head_bytes`, and as much between two parts of a chunked body."""
        self._max_head_bytes = max_head_bytes
        self._max_headers = max_headers
        self._num_lines = 0  # of the current head
        self._body_left = 0
        self.is_chunked = False
        self._idle_bytes = 0  # of a chunked body, since the last of its content
        self._tail = b""  # the end of the last piece, if the empty line may have begun there
        self.head_bytes = 0

    def expect_body(self, num_bytes: int | None) -> None:
        """A head has ended, and a body follows: of `num_bytes`, or in chunks if None."""
        self.is_chunked = num_bytes is None
        self._body_left = num_bytes or 0
        self._idle_bytes = 0

    def expect_head(self) -> None:
        """A request has ended."""
        self.is_chunked = False
        self._body_left = 0
        self.head_bytes = self._num_lines = 0

    def found_content(self) -> None:
        """A part of a body's content was found in the last piece."""
        self._idle_bytes = 0

    def end_of_piece(self, data: bytes, start: int) -> int:
        """Where the piece of `data` ends that begins at `start`.

        Raises:
            RefusedError: the head, or what is around the content of a body, is too large.
        """
        if self._body_left:
            end = min(len(data), start + self._body_left)
            self._body_left -= end - start
            return end
        tail = self._tail
        found = (tail + data[start : start + 3]).find(_END) if tail else -1
        if found >= 0:
            end = start + found + len(_END) - len(tail)
        else:
            found = data.find(_END, start)
            end = len(data) if found < 0 else found + len(_END)
        if self.is_chunked:
            end = min(end, start + _MAX_CHUNKED_PIECE)
            self._idle_bytes += end - start
            if self._idle_bytes > self._max_head_bytes + _MAX_CHUNKED_PIECE:
                raise RefusedError.framing_too_large(self._max_head_bytes)
        else:
            self.head_bytes += end - start
            if self.head_bytes > self._max_head_bytes:
                raise RefusedError.head_too_large(self._max_head_bytes)
            self._num_lines += data.count(b"\n", start, end)
            if self._num_lines > self._max_headers + 2:  # the request line, and the empty one
                raise RefusedError.too_many_headers(self._max_headers)
        self._tail = b"" if found >= 0 else (tail + data[max(start, end - 3) : end])[-3:]
        return end
