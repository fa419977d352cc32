"""HTTP with a time on each answer: when its last byte arrived, not when it was read."""

import asyncio
import json
from typing import Any, NamedTuple, cast


class Answer(NamedTuple):
    """An answer.

    Attributes:
        status: of HTTP; 0 if there is none.
        body: decoded JSON; None if there is none.
        until: when it had arrived, on the monotonic clock, in s.
        error: why there is no answer.
    """

    status: int
    body: Any
    until: float
    error: str = ""


class Connection:
    """Requests to one gateway, one at a time, over a connection that is kept."""

    def __init__(self, host: str, port: int) -> None:
        """Connect when there is a request."""
        self._host = host
        self._port = port
        self._exchange: _Exchange | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", *, timeout_s: float) -> Answer:
        """Send a request, and wait for the answer; a connection without one is given up."""
        now = asyncio.get_running_loop().time
        request = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        try:
            async with asyncio.timeout(timeout_s):
                exchange = await self._connected()
                status, received, until = await exchange.ask(request)
        except TimeoutError:
            self.close()
            return Answer(0, None, now(), "no answer")
        except OSError as error:
            self.close()
            return Answer(0, None, now(), f"{type(error).__name__}: {error}")
        try:
            return Answer(status, json.loads(received) if received else None, until)
        except ValueError:
            return Answer(status, None, until, "not JSON")

    def close(self) -> None:
        """Drop the connection."""
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None

    async def _connected(self) -> "_Exchange":
        if self._exchange is None or self._exchange.is_closed:
            loop = asyncio.get_running_loop()
            _, self._exchange = await loop.create_connection(_Exchange, self._host, self._port)
        return self._exchange


class _Exchange(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.is_closed = False
        self._received = b""
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[tuple[int, bytes, float]] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast("asyncio.Transport", transport)
        self._write = stream.write
        self.close = stream.abort

    async def ask(self, request: bytes) -> tuple[int, bytes, float]:
        self._received = b""
        self._answer = self._loop.create_future()
        self._write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        whole = whole_answer(self._received)
        if whole is not None and not self._answer.done():
            self._answer.set_result((*whole, self._loop.time()))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        if not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed"))
            # If the connection was idle, no caller retrieves it.
            self._answer.exception()


def whole_answer(received: bytes) -> tuple[int, bytes] | None:
    """Status and body of an answer whose head gives its length; None while a part is missing."""
    head, blank, body = received.partition(b"\r\n\r\n")
    if not blank:
        return None
    status = int(head[9:12])
    _, named, length = head.lower().partition(b"content-length:")
    expected = int(length.split(b"\r\n", 1)[0]) if named else 0
    return (status, body[:expected]) if len(body) >= expected else None
