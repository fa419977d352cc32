"""Answers searches without ASGI between the connection and `SearchApp`.

Translating a request for ASGI (a scope, an event, messages, checked fields) takes a quarter of a
gateway's CPU. And a connection knows when its client disconnects, while with ASGI a task must wait
for that beside each search that takes longer than some milliseconds.

A search that is not plain (chunked, encoded, too large, sent by a web page, or HTTP/1.0) goes
through the application, to the same `SearchApp`. Both ways give the same answer.
"""

import asyncio
import re
from functools import partial
from typing import Final

import structlog
from starlette.types import ASGIApp

from hedgerow.common.errors import (
    BadRequestError,
    HedgerowError,
    InsufficientCoverageError,
    OverloadedError,
)
from hedgerow.common.runtime.alarms import Alarm
from hedgerow.gateway.access.caller import Caller
from hedgerow.gateway.http.problems import overload_bytes, whole_seconds
from hedgerow.gateway.http.protocol.exchange import Wire
from hedgerow.gateway.http.protocol.request_head import RequestHead
from hedgerow.gateway.http.protocol.response_head import CLOSE, STATUS_LINES
from hedgerow.gateway.http.requests.guard import Guard
from hedgerow.gateway.http.search.search_app import SearchApp
from hedgerow.gateway.search.documents.answer_memory import Lease
from hedgerow.gateway.search.result import SearchQuery

log = structlog.get_logger()

# Names without escapes; paths that must be decoded, or are invalid, are left to the application.
_is_search = re.compile(rb"/v1/collections/([\w.~-]+)/search").fullmatch
_FOUND: Final = b"content-length: %d\r\ncontent-type: application/json\r\n"
_FAILED_FIELDS: Final = b"content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n"
_FAILED: Final = b"Internal Server Error"


class PlainSearches:
    """Recognises plain searches, and starts them."""

    __slots__ = ("_app", "_guard")

    def __init__(self, guard: Guard, app: SearchApp) -> None:
        """Search with `app`, as `guard` allows."""
        self._guard = guard
        self._app = app

    @classmethod
    def of(cls, app: ASGIApp) -> "PlainSearches | None":
        """Searches of an application; None unless `create_app` made it."""
        if isinstance(app, Guard) and isinstance(app.app, SearchApp):
            return cls(app, app.app)
        return None

    def begin(
        self, head: RequestHead, num_bytes: int | None, peer: str, wire: Wire
    ) -> "SearchExchange | None":
        """Start the search whose head was read; None for any other request."""
        match = _is_search(head.target)
        if (
            match is None
            or num_bytes is None
            or num_bytes > self._app.max_body_bytes
            or head.method != b"POST"
            or head.version != "1.1"
            or head.is_upgrade
        ):
            return None
        headers = dict(head.headers)
        if len(headers) != len(head.headers) or b"expect" in headers:
            return None  # a header is repeated, perhaps Host or Authorization
        collection = match[1].decode()
        verdict = self._guard.plain_search(headers, collection)
        if verdict is None:
            return None
        traceparent = headers.get(b"traceparent", b"").decode("latin-1")
        decision, real_name = verdict
        return SearchExchange(
            self._app, real_name, decision, peer, traceparent, head.keeps_alive, wire
        )


class SearchExchange:
    """A plain search and its answer.

    Attributes:
        keep_alive: whether the connection stays open after the answer.
        has_begun: whether part of the answer was written.
        is_complete: whether the whole answer was written.
    """

    __slots__ = (
        "_app",
        "_body",
        "_collection",
        "_has_left",
        "_hold",
        "_lease",
        "_peer",
        "_query",
        "_task",
        "_traceparent",
        "_verdict",
        "_wire",
        "has_begun",
        "is_complete",
        "keep_alive",
    )

    def __init__(
        self,
        app: SearchApp,
        collection: str,
        verdict: Caller | HedgerowError,
        peer: str,
        traceparent: str,
        keep_alive: bool,
        wire: Wire,
    ) -> None:
        """Search a collection for the caller at `peer`, or refuse to."""
        self.keep_alive = keep_alive
        self.has_begun = self.is_complete = False
        self._app = app
        self._collection = collection
        self._verdict = verdict
        self._peer = peer
        self._traceparent = traceparent
        self._wire = wire
        self._body = b""
        self._query: SearchQuery | None = None
        self._task: asyncio.Task[None] | None = None
        self._hold: Alarm | None = None  # ends the wait of a refusal
        self._has_left = False
        self._lease: Lease | None = None

    def add_body(self, data: bytes) -> None:
        """Keep a part of the body; together, the parts are within the limit."""
        self._body += data

    def end_body(self) -> None:
        """Start searching, unless there is no room."""
        refusal = None if self._wire.writing.is_paused else self._overload()
        if refusal is None:
            self._task = self._wire.start(self._run())
        else:
            self._turn_away(refusal)

    def leave(self) -> None:
        """Cancel the search, since its answer would not be read."""
        self._has_left = True
        task = self._task
        if task is not None and not self.is_complete:
            task.cancel()
            # A task that is cancelled before it starts cannot call `finish` itself.
            task.add_done_callback(self._wire.finish)
        if self._hold is not None:
            self._hold.cancel()
            self._wire.pace.release()

    def _overload(self) -> OverloadedError | None:
        """Return the refusal of a search for which there is no room, else None."""
        if isinstance(self._verdict, HedgerowError):
            return None
        try:
            self._query = query = self._read(self._verdict)
        except BadRequestError:
            return None  # `_answer` reports it
        return self._app.overload(query)

    def _read(self, caller: Caller) -> SearchQuery:
        return self._app.query(self._collection, self._body, caller, self._peer, self._traceparent)

    def _turn_away(self, refusal: OverloadedError) -> None:
        """Refuse at once or later, without a task."""
        wire = self._wire
        now = wire.alarms.loop.time()
        deadline_s = 0.0 if self._query is None else self._query.deadline_ms / 1000
        at = wire.pace.hold(deadline_s, now)
        if at > now:
            self._hold = wire.alarms.set(at, partial(self._send_refusal, refusal))
        else:
            self._send_refusal(refusal)

    def _send_refusal(self, refusal: OverloadedError) -> None:
        self._hold = None
        wire = self._wire
        wire.pace.release()
        wire.pace.refuse(whole_seconds(refusal.retry_after_s), wire.alarms.loop.time())
        self._send(*overload_bytes(refusal))

    async def _run(self) -> None:
        try:
            status, fields, body = await self._answer()
            await self._write(status, fields, body)
        except (Exception, asyncio.CancelledError) as error:
            if self.is_complete or (self._has_left and isinstance(error, asyncio.CancelledError)):
                return  # no client waits
            log.exception("request_failed", path=f"/v1/collections/{self._collection}/search")
            self.keep_alive = False
            await self._write(500, _FAILED_FIELDS, _FAILED)
        finally:
            task, self._task = self._task, None  # they refer to each other
            if task is not None:
                self._wire.finish(task)

    async def _answer(self) -> tuple[int, bytes, bytes]:
        """Return the status, fields and body of the answer."""
        if isinstance(self._verdict, HedgerowError):
            self._app.count_unread("", self._verdict)
            return self._refuse(self._verdict)
        query = self._query
        try:
            if query is None:
                query = self._read(self._verdict)
            body, self._lease = await self._app.search(query)
        except Exception as error:  # noqa: BLE001 - unforeseen ones are problems too
            if query is None:
                self._app.count_unread(self._verdict.name, error)
            if isinstance(error, InsufficientCoverageError):
                self._lease = error.result.lease
            return self._refuse(error)
        return 200, _FOUND % len(body), body

    def _refuse(self, error: Exception) -> tuple[int, bytes, bytes]:
        refusal = self._app.refusal(error)
        fields = b"".join(b"%b: %b\r\n" % header for header in refusal.raw_headers)
        return refusal.status_code, fields, bytes(refusal.body)

    async def _write(self, status: int, fields: bytes, body: bytes) -> None:
        writing = self._wire.writing
        if writing.is_paused:
            await writing.wait_for_room()
        if self._has_left:
            return
        self._send(status, fields, body)
        if self._lease is not None:
            # The documents are accounted for until the client has read nearly all of the answer.
            await writing.wait_for_room()
            self._lease = None

    def _send(self, status: int, fields: bytes, body: bytes) -> None:
        wire = self._wire
        ending = b"\r\n" if self.keep_alive else CLOSE + b"\r\n"
        content = (STATUS_LINES[status], wire.date_line(), fields, ending, body)
        wire.writing.write(b"".join(content))
        self.has_begun = self.is_complete = True
        wire.end_answer()
