"""Turns received bytes into requests, one at a time and within limits.

httptools parses all its input, and would make thousands of requests of one packet. Here, a request
is parsed only when the previous one has been answered. The bytes that follow a request wait
unparsed: at most the result of one read, since the connection is not read meanwhile.

If the bytes of a head are those of one that was parsed before (`known_heads`), and its body has
arrived with it, the request is not parsed again.
"""

from typing import Final, Protocol, cast

import httptools

from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.gateway.http.protocol.known_heads import MAX_HEAD_BYTES, KnownHeads
from hedgerow.gateway.http.protocol.refusal import RefusedError
from hedgerow.gateway.http.protocol.request_cutter import RequestCutter
from hedgerow.gateway.http.protocol.request_head import RequestHead

# The most that is parsed in one turn of the loop, which takes some milliseconds at most.
_MAX_PIECES: Final = 256
_MAX_PARTS: Final = 1024
_END: Final = b"\r\n\r\n"  # of a head


class Receiver(Protocol):
    """Takes the requests that are read, part by part."""

    def begin_request(self, head: RequestHead, num_bytes: int | None) -> None:
        """A head has arrived; its body has `num_bytes`, or is chunked if None."""

    def add_body(self, data: bytes) -> None:
        """A part of the body has arrived."""

    def end_request(self) -> None:
        """The request is complete."""


class RequestReader:
    """Reads one request after another.

    Attributes:
        is_waiting: whether a request was read; until this is unset, the bytes after it wait.
        num_held: how many bytes have arrived but are not parsed yet.
    """

    __slots__ = (
        "_cutter",
        "_headers",
        "_held",
        "_known",
        "_offset",
        "_parser",
        "_piece",
        "_receiver",
        "_target",
        "is_waiting",
        "num_held",
    )

    def __init__(self, limits: ConnectionSettings, receiver: Receiver, known: KnownHeads) -> None:
        """Read within `limits`, and pass requests to `receiver`; `known` is the server's."""
        self._receiver = receiver
        self._known = known
        self._piece = b""  # that is being parsed, if a request begins with it
        self._cutter = RequestCutter(limits.max_head_bytes, limits.max_headers)
        self._parser = httptools.HttpRequestParser(self)
        self._held = b""  # received; not parsed from the offset on
        self._offset = 0
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self.is_waiting = False
        self.num_held = 0

    @property
    def has_head_begun(self) -> bool:
        """Whether a head has arrived in part."""
        return self._cutter.head_bytes > 0

    def read(self, data: bytes) -> None:
        """Parse the received bytes, at most to the end of a request.

        Raises:
            RefusedError: the gateway does not accept the request.
        """
        if self._held:
            data = self._held[self._offset :] + data
        self._parse(data, 0)

    def read_on(self) -> None:
        """Parse the held bytes, as `read` does."""
        if self._held:
            self._parse(self._held, self._offset)

    def close(self) -> None:
        """Stop reading, and drop the held bytes."""
        self._held, self.num_held = b"", 0
        # Break the cycle of parser, reader and receiver, since the garbage collector runs seldom.
        self._parser = cast("httptools.HttpRequestParser", None)
        self._receiver = cast("Receiver", None)

    def _parse(self, data: bytes, offset: int) -> None:
        cutter = self._cutter
        cut, feed = cutter.end_of_piece, self._parser.feed_data
        cutter.num_parts = num_pieces = 0
        num_bytes = len(data)
        try:
            while offset < num_bytes and not self.is_waiting:
                if num_pieces == _MAX_PIECES or cutter.num_parts > _MAX_PARTS:
                    break  # to let others have their turn
                num_pieces += 1
                is_start = not cutter.head_bytes
                if is_start and (end := self._take_known(data, offset)):
                    offset = end
                    continue
                start, offset = offset, cut(data, offset)
                piece = data[start:offset]
                self._piece = piece if is_start else b""
                feed(piece)
        except httptools.HttpParserUpgrade:
            pass  # answered in HTTP/1.1; then the connection is closed
        except httptools.HttpParserError as error:
            raise _refusal_of(error) from error
        self.num_held = num_bytes - offset
        self._held, self._offset = (data, offset) if self.num_held else (b"", 0)

    def _take_known(self, data: bytes, start: int) -> int:
        """Take a whole request whose head is known; returns where it ends, or 0 without one."""
        end = data.find(_END, start, start + MAX_HEAD_BYTES) + len(_END)
        known = self._known.get(data[start:end])
        if known is None:
            return 0
        head, num_bytes = known
        start, end = end, end + num_bytes
        if end > len(data):
            return 0
        receiver = self._receiver
        receiver.begin_request(head, num_bytes)
        if num_bytes:
            receiver.add_body(data[start:end])
        self.is_waiting = True
        receiver.end_request()
        return end

    # Called by the parser

    def on_message_begin(self) -> None:
        """A request begins."""
        self._target = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field; the parser does not strip the white space after its value (RFC 9112, 5.1)."""
        self._headers.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        """The head ends."""
        parser = self._parser
        head = RequestHead(
            parser.get_method(),
            self._target,
            parser.get_http_version(),
            self._headers,
            parser.should_upgrade(),
            parser.should_keep_alive(),
        )
        self._headers = []  # trailers of a chunked body are dropped
        num_bytes = head.body_bytes()
        self._cutter.expect_body(num_bytes)
        if self._piece.endswith(_END):  # otherwise it is not the whole head
            self._known.add(self._piece, head, num_bytes)
        self._receiver.begin_request(head, num_bytes)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._cutter.found_content()
        self._receiver.add_body(body)

    def on_message_complete(self) -> None:
        """The request ends."""
        self._cutter.expect_head()
        self.is_waiting = True
        self._receiver.end_request()


def _refusal_of(error: httptools.HttpParserError) -> Exception:
    cause = error.__context__
    if not isinstance(error, httptools.HttpParserCallbackError) or cause is None:
        return RefusedError.malformed("request", f"is not HTTP/1.1: {error}")
    if isinstance(cause, httptools.HttpParserError):  # of the target
        return RefusedError.malformed("target", "is not a path")
    return cast("Exception", cause)
