"""Cuts the received bytes into pieces, so that limits apply before a request is parsed.

The parser accepts all bytes that it is given, even a header field of 300 MB, which it keeps until
the field ends, or thousands of requests in one packet. It is therefore given pieces. Bytes that
exceed a limit are not passed to the parser, and a piece never contains the end of one request and
the start of the next.

Each head, and each chunked body, ends with an empty line, which the parser accepts only as CR LF
CR LF. A piece ends there at the latest.
"""

from typing import Final

from hedgerow.gateway.http.protocol.refusal import RefusedError

_MAX_CHUNKED_PIECE: Final = 16_384
_TRAILERS_OF_PIECE: Final = _MAX_CHUNKED_PIECE // 8
_END: Final = b"\r\n\r\n"


class RequestCutter:
    """Decides where the next piece ends.

    Attributes:
        head_bytes: bytes of the current head so far, including empty lines before it.
        num_parts: parts of content found in bodies; each chunk may be as short as one byte.
    """

    __slots__ = (
        "_body_left",
        "_idle_bytes",
        "_is_chunked",
        "_max_head_bytes",
        "_max_headers",
        "_num_lines",
        "_tail",
        "head_bytes",
        "num_parts",
    )

    def __init__(self, max_head_bytes: int, max_headers: int) -> None:
        """Allow `max_head_bytes` in a head, and between two parts of a chunked body."""
        self._max_head_bytes = max_head_bytes
        self._max_headers = max_headers
        self._num_lines = 0  # of the current head
        self._body_left = 0
        self._is_chunked = False
        self._idle_bytes = 0  # bytes of a chunked body since its last content
        self.num_parts = 0
        self._tail = b""  # the end of the last piece, if the empty line may have begun there
        self.head_bytes = 0

    def expect_body(self, num_bytes: int | None) -> None:
        """A head has ended, and a body follows: of `num_bytes`, or chunked if None."""
        self._is_chunked = num_bytes is None
        self._body_left = num_bytes or 0
        self._idle_bytes = 0

    def expect_head(self) -> None:
        """A request has ended."""
        self._is_chunked = False
        self._body_left = 0
        self.head_bytes = self._num_lines = 0

    def found_content(self) -> None:
        """A part of a body's content was found in the last piece."""
        self._idle_bytes = 0
        self.num_parts += 1

    def end_of_piece(self, data: bytes, start: int) -> int:
        """Return where the piece of `data` that begins at `start` ends.

        Raises:
            RefusedError: the head, or the framing of a body, is too large.
        """
        if self._body_left:
            end = min(len(data), start + self._body_left)
            self._body_left -= end - start
            return end
        limit = len(data)
        if self._is_chunked:
            limit = min(limit, start + _MAX_CHUNKED_PIECE)
        tail = self._tail
        end = (tail + data[start : start + 3]).find(_END) if tail else -1
        if end >= 0:
            end += start + len(_END) - len(tail)
        elif (end := data.find(_END, start, limit)) >= 0:
            end += len(_END)
        if end >= 0:
            self._tail = b""
        else:
            end = limit
            self._tail = (tail + data[max(start, end - 3) : end])[-3:]
        self._count(data, start, end)
        return end

    def _count(self, data: bytes, start: int, end: int) -> None:
        if self._is_chunked:
            if self._idle_bytes:
                self.num_parts += _TRAILERS_OF_PIECE  # the most that a piece can contain
            self._idle_bytes += end - start
            if self._idle_bytes > self._max_head_bytes + _MAX_CHUNKED_PIECE:
                raise RefusedError.framing_too_large(self._max_head_bytes)
            return
        self.head_bytes += end - start
        if self.head_bytes > self._max_head_bytes:
            raise RefusedError.head_too_large(self._max_head_bytes)
        self._num_lines += data.count(b"\n", start, end)
        if self._num_lines > self._max_headers + 2:  # the request line, and the empty one
            raise RefusedError.too_many_headers(self._max_headers)
