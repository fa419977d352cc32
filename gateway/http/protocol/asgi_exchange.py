"""A request that an ASGI application answers (https://asgi.readthedocs.io/en/latest/specs/www.html).

The application's messages become an answer in as few writes as possible: with TCP_NODELAY, each
is a system call, a packet and a wake-up of the client. So the head is sent with the first part of
the body, and if the application fails before that, the client still gets a 500.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import unquote

import httptools
import structlog
from starlette.types import ASGIApp, Message

from hedgerow.gateway.http.protocol.exchange import Wire
from hedgerow.gateway.http.protocol.refusal import RefusedError
from hedgerow.gateway.http.protocol.request_head import RequestHead
from hedgerow.gateway.http.protocol.response_head import (
    CHUNKED,
    CLOSE,
    CONTINUE,
    STATUS_LINES,
    lower_fields,
)

log = structlog.get_logger()

Address = tuple[str, int]
# If more is buffered, the connection is not read until the application has taken it.
_MAX_BODY_AHEAD: Final = 65_536
_FAILED: Final = b"Internal Server Error"
_FAILED_FIELDS: Final = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_FAILED)),
)


def scope_of(
    head: RequestHead, scheme: str, client: Address | None, server: Address | None
) -> dict[str, Any]:
    """Describe a request as an ASGI scope.

    Raises:
        RefusedError: the target has no path.
    """
    target = httptools.parse_url(head.target)
    try:
        path = target.path.decode("ascii")
    except UnicodeDecodeError as error:
        raise RefusedError.malformed("target", "should be ASCII") from error
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "method": head.method.decode("ascii"),
        "scheme": scheme,
        "path": unquote(path) if "%" in path else path,
        "raw_path": target.path,
        "query_string": target.query or b"",
        "root_path": "",
        "headers": list(head.headers),  # an application may change it, and others have the head
        "client": client,
        "server": server,
    }


class AsgiExchange:
    """A request and its answer, between a connection and an application.

    Attributes:
        keep_alive: whether the connection stays open after the answer.
        has_begun: whether part of the answer was written.
        is_complete: whether the whole answer was written.
    """

    def __init__(self, scope: dict[str, Any], head: RequestHead, wire: Wire) -> None:
        """Answer over `wire` the request that `scope` describes."""
        self.keep_alive = head.keeps_alive and head.version != "1.0" and not head.is_upgrade
        self.has_begun = False
        self.is_complete = False
        self._scope = scope
        self._wire = wire
        self._has_left = False
        self._task: asyncio.Task[None] | None = None
        # The request
        self._is_invited = not head.expects_continue
        self._body = bytearray()
        self._has_more = True
        self._has_news = asyncio.Event()
        # The answer
        self._is_head = head.method == b"HEAD"
        self._takes_chunks = head.version != "1.0"
        self._is_last = False  # whether the application asked to close the connection
        self._head: list[bytes] | None = None  # None until the application sends it
        self._is_chunked = False
        self._num_left: int | None = None  # remaining bytes of the body; None if not announced

    def start(self, app: ASGIApp) -> None:
        """Let `app` answer."""
        self._task = self._wire.start(self._run(app))

    def add_body(self, data: bytes) -> None:
        """Keep a part of the body until the application takes it."""
        if self.is_complete:
            return
        self._body += data
        if len(self._body) > _MAX_BODY_AHEAD:
            self._wire.reading.pause()
        self._has_news.set()

    def end_body(self) -> None:
        """Tell the application that the body is complete."""
        self._has_more = False
        self._has_news.set()

    def leave(self) -> None:
        """Tell the application that its client has gone."""
        self._has_left = True
        self._body = bytearray()
        self._has_news.set()

    async def _run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._receive, self._send)
        except (Exception, asyncio.CancelledError):
            log.exception("request_failed", path=self._scope["path"])
            await self._fail()
        else:
            if not (self.is_complete or self._has_left):
                log.error("request_not_answered", path=self._scope["path"])
                await self._fail()
        finally:
            task, self._task = self._task, None  # they refer to each other
            if task is not None:
                self._wire.finish(task)

    async def _fail(self) -> None:
        """Answer with a 500, or cut off the answer that has begun."""
        if self.has_begun:
            if not (self.is_complete or self._has_left):
                self._wire.close_after_answer()
            return
        self._head = None
        headers = (*_FAILED_FIELDS, (b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": 500, "headers": headers})
        await self._send({"type": "http.response.body", "body": _FAILED})

    async def _receive(self) -> Message:
        wire = self._wire
        if not (self._has_left or self.is_complete):
            if not self._is_invited:
                self._is_invited = True
                if not (self.has_begun or wire.writing.is_closing):
                    wire.writing.write(CONTINUE)
            wire.reading.resume()
            await self._has_news.wait()
            self._has_news.clear()
        if self._has_left or self.is_complete:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self._has_more}

    async def _send(self, message: Message) -> None:
        if not self._has_left:
            await self._wire.writing.wait_for_room()
        if self._has_left:
            return
        kind = message["type"]
        if self._head is None:
            _demand(kind, "http.response.start")
            self._take_head(message["status"], message.get("headers", ()))
        elif self.is_complete:
            raise RuntimeError(f"{kind} comes after the answer is complete")
        else:
            _demand(kind, "http.response.body")
            self._write(message.get("body", b""), message.get("more_body", False))

    def _take_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep the head until the first part of the body arrives."""
        lines = [STATUS_LINES[status], self._wire.date_line()]
        num_left: int | None = None
        for name, value in lower_fields(headers):
            if name == b"connection":
                self._is_last = b"close" in value.lower()
            elif name != b"transfer-encoding":  # the framing of the body is decided here
                lines += (name, b": ", value, b"\r\n")
                if name == b"content-length":
                    num_left = int(value)
        if self._is_head or status in (204, 304):
            num_left = 0
        self._is_chunked = (
            num_left is None and self._takes_chunks
        )  # if neither, closing ends the body
        self._num_left = num_left
        self._head = lines

    def _write(self, body: bytes, has_more: bool) -> None:
        """Write a part of the body, after the head if it is the first."""
        if self._is_head:
            body = b""
        self._count(len(body), has_more)
        parts: list[bytes] = []
        if not self.has_begun:
            self.has_begun = True
            parts += self._end_head()
        if not self._is_chunked:
            parts.append(body)
        elif body:
            parts += (b"%x\r\n" % len(body), body, b"\r\n")
        if self._is_chunked and not has_more:
            parts.append(b"0\r\n\r\n")
        if data := b"".join(parts):
            self._wire.writing.write(data)
        if not has_more:
            self.is_complete = True
            self._has_news.set()
            self._wire.end_answer()

    def _count(self, num_bytes: int, has_more: bool) -> None:
        """Compare the body with the announced length."""
        if self._num_left is None or self._is_head:
            return
        self._num_left -= num_bytes
        if self._num_left < 0 or (self._num_left and not has_more):
            raise RuntimeError("the body of the answer does not have the announced length")

    def _end_head(self) -> list[bytes]:
        """Return the lines of the head, once it is known whether the connection stays open."""
        self.keep_alive = self.keep_alive and not self._is_last
        lines = self._head or []
        if not self.keep_alive:
            lines.append(CLOSE)
        if self._is_chunked:
            lines.append(CHUNKED)
        lines.append(b"\r\n")
        return lines


def _demand(kind: str, expected: str) -> None:
    if kind != expected:
        raise RuntimeError(f"the application sent {kind}, expected {expected}")
