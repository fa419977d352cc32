"""Parses the answers on one connection from the bytes as they arrive. No I/O."""

from typing import Final, NamedTuple

import httptools

# Far more than a gateway sends, but too little to fill a client's memory.
MAX_HEAD_BYTES: Final = 64 * 1024


class Response(NamedTuple):
    """An answer; the names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class ResponseReader:
    """Reads one answer for each request; `expect`, then `feed` until it `is_done`, then `take`.

    Attributes:
        is_done: whether no answer is awaited: it has arrived, or none can arrive any more.
        is_reusable: whether the connection may be used for another request. False once bytes
            have arrived that belong to no request.
    """

    def __init__(self) -> None:
        """Start with a connection on which nothing was sent."""
        self.is_done = True
        self.is_reusable = True
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._head_bytes = 0
        self._is_in_body = False
        self._problem = ""
        # The parser calls the methods on_… below.
        self._parser = httptools.HttpResponseParser(self)

    def expect(self) -> None:
        """Expect the answer to a request that is about to be sent."""
        self.is_done = self.is_reusable = self._is_in_body = False
        self._status = self._head_bytes = 0
        self._headers, self._body, self._problem = {}, [], ""

    def feed(self, data: bytes) -> None:
        """Parse received bytes."""
        if self.is_done:
            self.is_reusable = False
            return
        if not self._is_in_body:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"the answer is not HTTP/1.1: {error}")
        if self._head_bytes > MAX_HEAD_BYTES and not self._is_in_body:
            self._fail(f"the headers of the answer take more than {MAX_HEAD_BYTES} bytes")

    def end(self, reason: str = "") -> None:
        """Note that nothing more will arrive, and the reason."""
        self.is_reusable = False
        if self.is_done:
            return
        if self._is_in_body and not self._headers.keys() & {"content-length", "transfer-encoding"}:
            self.is_done = True  # an answer without a length ends with the connection
            return
        when = "in the middle of its answer" if self._status else "before it answered"
        self._fail(reason or f"the server closed the connection {when}")

    def take(self) -> Response:
        """Return the answer.

        Raises:
            ConnectionError: there is no answer; says why.
        """
        if self._problem:
            raise ConnectionError(self._problem)
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        return Response(self._status, self._headers, body)

    def _fail(self, problem: str) -> None:
        self.is_reusable = False
        if not self.is_done:
            self.is_done, self._problem = True, problem

    def on_message_begin(self) -> None:
        """Mark the connection as not reusable if an answer arrives without a request."""
        if self.is_done:
            self.is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; repeated ones are joined, as in RFC 9110."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        # After the body, these are trailers; after the answer, they belong to no request.
        if not self.is_done and not self._is_in_body:
            before = self._headers.get(key)
            self._headers[key] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        """Recognise the answer; interim ones, such as 100 (Continue), may precede it."""
        if self.is_done:
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:
            self._headers, self._status = {}, 0
        else:
            self._is_in_body = True

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        if not self.is_done:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """Note that the answer is complete, and whether the server keeps the connection open."""
        if self._is_in_body and not self.is_done:
            self.is_done = True
            self.is_reusable = self._parser.should_keep_alive()
