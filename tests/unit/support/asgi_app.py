"""An ASGI application that answers when a test lets it, and requests to it, good and malformed."""

import asyncio
import json
from typing import Any

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.gateway.http.server.connection_table import ConnectionTable
from tests.support.connections import RecordingTransport

REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
SWEEP_S = 0.5


class App:
    """An ASGI application that reads bodies, and answers when the test allows it.

    Attributes:
        bodies: what it has read.
        scopes: of the requests that it was given.
        may_answer: set unless a test clears it.
    """

    def __init__(self, *, reads: bool = True) -> None:
        self.reads = reads
        self.scopes: list[Any] = []
        self.bodies: list[bytes] = []
        self.num_left = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 204."""
        self.scopes.append(scope)
        body, has_more = b"", self.reads
        while has_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.num_left += 1
                break
            body += message["body"]
            has_more = message["more_body"]
        self.bodies.append(body)
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def post(num_bytes: int, *headers: str) -> bytes:
    """The head of a request with a body."""
    lines = ["POST / HTTP/1.1", "Host: h", f"Content-Length: {num_bytes}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def gone_at(transport: RecordingTransport) -> float:
    """When a connection is closed, on the loop's clock."""
    await transport.closed.wait()
    return asyncio.get_running_loop().time()


def table(**limits: Any) -> ConnectionTable:
    """A table with limits that differ from the defaults."""
    return ConnectionTable(ConnectionSettings(**limits), Counters())


def refusal(transport: RecordingTransport) -> tuple[int, dict[str, Any]]:
    """The one response that was written: its status and its problem."""
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert head.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in head
    assert b"application/problem+json" in head
    problem = json.loads(body)
    assert problem["status"] == int(head.split()[1])
    return problem["status"], problem


MALFORMED = {
    "both lengths": (
        400,
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    "both lengths, turned": (
        400,
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
    ),
    "two lengths": (400, post(3, "Content-Length: 3")),
    "a list of lengths": (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\n"),
    "a signed length": (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\n"),
    "a huge length": (400, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % 10**30),
    "a coding": (501, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    "a coding alone": (501, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n"),
    "two codings": (
        400,
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        ),
    ),
    "chunks in 1.0": (400, b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "a bad chunk": (
        400,
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    ),
    "a folded line": (400, b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n"),
    "a NUL": (400, b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n"),
    "a bare LF": (400, b"GET / HTTP/1.1\nHost: h\n\n"),
    "a bare CR": (400, b"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"),
    "a space before the colon": (400, b"GET / HTTP/1.1\r\nHost : h\r\n\r\n"),
    "no colon": (400, b"GET / HTTP/1.1\r\nHost\r\n\r\n"),
    "HTTP/0.9": (505, b"GET /\r\n\r\n"),
    "HTTP/0.9 by name": (505, b"GET / HTTP/0.9\r\n\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\nHost: h\r\n\r\n"),
    "HTTP/9.9": (400, b"GET / HTTP/9.9\r\nHost: h\r\n\r\n"),
    "the preface of HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "an unknown method": (400, b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n"),
    "CONNECT": (400, b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n"),
    "CONNECT with a URL": (400, b"CONNECT http://h/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    "an asterisk": (400, b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"),
    "another host": (400, b"GET http://evil/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    "another host, and none": (400, b"GET http://evil/ HTTP/1.1\r\n\r\n"),
    "another user": (400, b"GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    "a URL without a path": (400, b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n"),
    "another scheme": (400, b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    "no path": (400, b"GET h HTTP/1.1\r\nHost: h\r\n\r\n"),
    "an upgrade with a body": (400, post(3, "Connection: upgrade", "Upgrade: h2c") + b"abc"),
}
