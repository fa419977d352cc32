"""Connections that answer searches themselves, ahead of the server's own way to an application."""

import asyncio
import re
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from common.errors import HedgerowError, InsufficientCoverageError
from gateway.access.caller import Caller
from gateway.answer_memory import Lease
from gateway.http.guard import Guard
from gateway.http.guarded_connection import GuardedConnection
from gateway.http.search_app import SearchApp

# Names that mean themselves: whatever must be decoded, or is no name, is left to the application.
_is_search = re.compile(rb"/v1/collections/([\w.~-]+)/search").fullmatch


class SearchConnection(GuardedConnection):
    """uvicorn's protocol, which answers plain searches without ASGI between it and `SearchApp`.

    What a request is made into for ASGI (a scope, an event, messages, headers that are checked) was
    a quarter of a gateway's CPU. And the connection knows when its client hangs up: by ASGI, a task
    must wait for that, beside each search that takes longer than some milliseconds.

    Whatever is not plain takes uvicorn's way, to the same `SearchApp`: requests in chunks, encoded,
    larger than allowed, sent by web pages, of HTTP/1.0. So do all where uvicorn is to log each
    request.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn makes it."""
        super().__init__(*args, **kwargs)
        app = self.config.app
        self._guard = app if isinstance(app, Guard) else None
        app = app if self._guard is None else self._guard.app
        is_needed = self.root_path or self.access_log  # uvicorn's way
        self._app = app if isinstance(app, SearchApp) and not is_needed else None
        self._search: _Search | None = None  # the one that is read or answered
        self._is_plain = False  # whether what is being read is that one

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the search that nobody waits for any more."""
        search = self._search
        if search is not None:
            search.has_left = True
            if search.task is not None:
                search.task.cancel()
                # Cancelled before it has begun, it does not come to do so itself.
                search.task.add_done_callback(self.tasks.discard)
        if isinstance(self.cycle, _Search):
            self.cycle = cast("Any", None)  # uvicorn would tell its own
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Read a request of which nothing is known."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Decide which way it takes."""
        search = self._plain_search()
        self._is_plain = search is not None
        if search is None:
            self._take_the_servers_way()
        else:
            self._search = search
            self.cycle = cast("Any", search)  # it has what uvicorn asks of one
            self.expect_body(search.num_bytes)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body; all of them are within the limit."""
        if self._is_plain and self._search is not None:
            self._search.raw += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Begin to search."""
        search = self._search
        if self._is_plain and search is not None:
            self.expect_answer()
            search.task = self.loop.create_task(self._answer(search))
            self.tasks.add(search.task)
        else:
            super().on_message_complete()

    def _plain_search(self) -> "_Search | None":
        """The search whose head was read; None of any other request, or one that is not plain."""
        app, guard, parser, cycle = self._app, self._guard, self.parser, self.cycle
        match = _is_search(self.url)
        if (
            app is None
            or guard is None
            or match is None
            or parser.get_method() != b"POST"
            or parser.get_http_version() != "1.1"
            or parser.should_upgrade()
            or self.expect_100_continue
            or not (cycle is None or cycle.response_complete)
        ):
            return None
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > app.max_body_bytes:
            return None
        if len(headers) != len(self.headers):
            return None  # one came twice, perhaps Host or Authorization
        collection = match[1].decode()
        verdict = guard.plain_search(headers, collection)
        if verdict is None:
            return None
        return _Search(
            app,
            collection,
            verdict,
            self.state.peer,
            int(length),
            parser.should_keep_alive(),
        )

    def abandon_request(self) -> bool:
        """End a request whose rest is not awaited; return whether its answer has begun."""
        if not self._is_plain or self._search is None:
            return super().abandon_request()
        self._search = None
        self.cycle = cast("Any", None)
        return False

    def _take_the_servers_way(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # which forgets them
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    async def _answer(self, search: "_Search") -> None:
        task = cast("asyncio.Task[None]", search.task)  # this one
        try:
            status, head, body = await search.answer()
            await self._write(search, status, head, body)
        except BaseException as error:  # as uvicorn
            if search.has_left and isinstance(error, asyncio.CancelledError):
                return  # nobody is there to read an answer
            self.logger.error("Exception in ASGI application\n", exc_info=error)  # noqa: TRY400 # as uvicorn
            search.keep_alive = False
            await self._write(search, 500, _FAILED, b"Internal Server Error")
        finally:
            self.tasks.discard(task)

    async def _write(self, search: "_Search", status: int, head: bytes, body: bytes) -> None:
        if self.flow.write_paused and not search.has_left:
            await self.flow.drain()
        if search.has_left:
            return
        content = [STATUS_LINE[status]]
        for name, value in self.server_state.default_headers:
            content += (name, b": ", value, b"\r\n")
        ending = b"\r\n" if search.keep_alive else b"connection: close\r\n\r\n"
        content += (head, ending, body)
        self.writes.write_at_once(b"".join(content))
        search.response_complete = True
        self._search = None
        if not search.keep_alive:
            self.transport.close()
        self.on_response_complete()
        if search.lease is not None:
            # Until the client has read nearly all of the answer, its documents count as held.
            if self.flow.write_paused:
                await self.flow.drain()
            search.lease = None


class _Search:
    """One search on a connection; to uvicorn, the cycle of a request and its response.

    Attributes:
        num_bytes: how long its body is.
        raw: what there is of its body.
        keep_alive: whether the connection stays open after the answer.
        task: answers it, once its body is there.
        has_left: whether the client has hung up.
        lease: what the answer holds of the gateway's memory.
        response_complete: whether it was answered.
    """

    __slots__ = (
        "_app",
        "_collection",
        "_peer",
        "_verdict",
        "has_left",
        "keep_alive",
        "lease",
        "num_bytes",
        "raw",
        "response_complete",
        "task",
    )

    def __init__(
        self,
        app: SearchApp,
        collection: str,
        verdict: Caller | HedgerowError,
        peer: str,
        num_bytes: int,
        keep_alive: bool,
    ) -> None:
        self._app = app
        self._collection = collection
        self._verdict = verdict
        self._peer = peer
        self.num_bytes = num_bytes
        self.keep_alive = keep_alive
        self.raw = b""
        self.task: asyncio.Task[None] | None = None
        self.has_left = False
        self.lease: Lease | None = None
        self.response_complete = False

    async def answer(self) -> tuple[int, bytes, bytes]:
        """Status, head and body of the answer."""
        if isinstance(self._verdict, HedgerowError):
            return self._refuse(self._verdict)
        try:
            body, self.lease = await self._app.search(
                self._collection, self.raw, self._verdict, self._peer
            )
        except Exception as error:  # noqa: BLE001 - unforeseen ones are problems too
            if isinstance(error, InsufficientCoverageError):
                self.lease = error.result.lease
            return self._refuse(error)
        return 200, _FOUND % len(body), body

    def _refuse(self, error: Exception) -> tuple[int, bytes, bytes]:
        refusal = self._app.refusal(error)
        head = b"".join(b"%b: %b\r\n" % header for header in refusal.raw_headers)
        return refusal.status_code, head, bytes(refusal.body)


_FOUND: Final = b"content-length: %d\r\ncontent-type: application/json\r\n"
_FAILED: Final = b"content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n"
