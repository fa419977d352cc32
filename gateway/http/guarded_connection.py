"""Connections with limits on what their clients can use of a gateway.

uvicorn's protocol parses everything that arrives, and queues the requests. Here, a request is
parsed only when the previous one has been answered. The bytes that follow it wait unparsed: at most
the result of one read, after which reading pauses. `connection_policy` decides how long a
connection may take for each phase, and which connection is closed to make room for another.
"""

import asyncio
from typing import Any, Final, cast

import httptools

from gateway.http.coalesced_writes import CoalescingProtocol
from gateway.http.connection_policy import ConnectionState, Phase, peer_of
from gateway.http.connection_table import ConnectionTable
from gateway.http.reading import Reading, Trailers
from gateway.http.refusal import RefusedError
from gateway.http.request_cutter import RequestCutter
from gateway.http.request_head import RequestHead

# A request that is answered before its body has come keeps its connection if the rest is no more.
_MAX_DISCARDED_BYTES: Final = 65_536
# What is parsed in one turn of the loop, which takes some milliseconds at most.
_MAX_PIECES: Final = 256
_MAX_PARTS: Final = 1024
# Looked up for each request; a member of an enumeration takes its time.
_ANSWER: Final = Phase.ANSWER
_LINGER: Final = Phase.LINGER


class GuardedConnection(CoalescingProtocol, asyncio.BufferedProtocol):
    """uvicorn's protocol, within the limits of a table of connections.

    Attributes:
        state: the state of the connection, for the table.
    """

    state: ConnectionState

    def __init__(self, *args: Any, table: ConnectionTable, **kwargs: Any) -> None:
        """As uvicorn makes it, and one of `table`."""
        super().__init__(*args, **kwargs)
        self._table = table
        self._cutter = RequestCutter(table.limits.max_head_bytes, table.limits.max_headers)
        self._held = b""  # received, and from the offset on not parsed yet
        self._offset = 0
        self._keeps_alive = False  # whether the client lets the connection stay open
        self._is_dated = False  # whether the state says when the body began
        self._is_draining = False
        self._num_discarded = 0

    # What comes and goes

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Serve a connection, or refuse it if there is no room for it."""
        super().connection_made(transport)
        now = self.loop.time()
        self.state = ConnectionState(peer_of(self.client[0]) if self.client else "", now)
        self.flow = self._reading = Reading(self.transport, self.state, self.loop)
        self.writes.on_close = self._close
        if not self._table.admit(self, now):
            self._refuse(RefusedError.no_room())

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._table.forget(self)
        self._held = b""
        self.writes.on_close = None
        super().connection_lost(exc)
        if self.cycle is not None:
            # Connection and cycle refer to each other, and the garbage collector comes seldom.
            self.cycle.body = bytearray()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 # the transport has no hint
        """Where to put what is received: all connections share a buffer."""
        return self._table.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was put there."""
        self.data_received(bytes(self._table.buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Parse a request, and keep what follows it until it has been answered."""
        if self.state.phase is _LINGER:
            self._discard(len(data))
            return
        if self._held:
            data = self._held[self._offset :] + data
        self._parse(data, 0)

    def pause_writing(self) -> None:
        """Stop to answer, and see whether too much waits for clients."""
        super().pause_writing()
        now = self.loop.time()
        self.state.look_at_unsent(self.num_unsent(), now)
        self._table.bound_unsent(now)

    # Parsing

    def _parse_held(self) -> None:
        if self._held:  # unless the connection has ended since
            self._parse(self._held, self._offset)

    def _parse(self, data: bytes, offset: int) -> None:
        state, cut, feed = self.state, self._cutter.end_of_piece, self.parser.feed_data
        num_bytes = len(data)
        num_pieces = 0
        self._cutter.num_parts = 0
        try:
            while offset < num_bytes and state.phase is not _ANSWER:
                if num_pieces == _MAX_PIECES or self._cutter.num_parts > _MAX_PARTS:
                    self.loop.call_soon(self._parse_held)
                    break
                num_pieces += 1
                start, offset = offset, cut(data, offset)
                feed(data[start:offset])
        except httptools.HttpParserUpgrade:
            pass  # it is answered in HTTP/1.1, and the connection is closed
        except (RefusedError, httptools.HttpParserError) as error:
            self._refuse(self._refusal_of(error))
            return
        if offset < num_bytes:
            self._held, self._offset = data, offset
            self._reading.hold()
            return
        if self._held:
            self._held = b""
            self._reading.release()
        if state.phase is not _ANSWER:
            self._date()

    def _date(self) -> None:
        """Record when the wait for the rest of a request began."""
        state = self.state
        if state.phase is Phase.BODY:
            if state.is_load or not self._is_dated:
                self._is_dated = True
                state.since = self.loop.time()
        elif not state.has_begun and self._cutter.head_bytes:
            state.has_begun = True
            state.since = self.loop.time()

    def _refusal_of(self, error: Exception) -> RefusedError:
        if isinstance(error, httptools.HttpParserCallbackError) and error.__context__ is not None:
            error = cast("Exception", error.__context__)
        if isinstance(error, RefusedError):
            return error
        if isinstance(error, httptools.HttpParserError):
            return RefusedError.malformed("request", f"is not HTTP/1.1: {error}")
        raise error

    def on_headers_complete(self) -> None:
        """Look at the head before anything else does, and begin with the request."""
        parser = self.parser
        head = RequestHead(
            method=parser.get_method(),
            target=self.url,
            version=parser.get_http_version(),
            headers=self.headers,
            is_upgrade=parser.should_upgrade(),
        )
        num_bytes = head.body_bytes()
        super().on_headers_complete()
        self.headers = Trailers()
        self.expect_body(num_bytes, is_load=head.is_load)
        self._keeps_alive = self.cycle.keep_alive and not head.is_upgrade
        if num_bytes is None or num_bytes > _MAX_DISCARDED_BYTES or head.is_invited:
            # Until the body has come: an answer before that closes the connection, and says so.
            self.cycle.keep_alive = False

    def expect_body(self, num_bytes: int | None, *, is_load: bool = False) -> None:
        """A head has come, and a body follows: of `num_bytes`, or in chunks if None."""
        self._cutter.expect_body(num_bytes)
        self.state.is_load = is_load
        self._is_dated = False
        self.state.phase = Phase.BODY

    def on_body(self, body: bytes) -> None:
        """Hand on a part of the body."""
        self._cutter.found_content()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Await the answer, unless it has left already."""
        self.expect_answer()
        if self.cycle.response_complete:
            self._await_head()
        elif not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive
        super().on_message_complete()

    def expect_answer(self) -> None:
        """A request has come."""
        self._cutter.expect_head()
        self.state.phase = Phase.ANSWER
        self.state.has_asked = True

    def on_response_complete(self) -> None:
        """Begin with the next request, or to be idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.state.phase is Phase.ANSWER:
            self._await_head()
            if self._held:
                self.loop.call_soon(self._parse_held)
        if self.flow.read_paused:
            self.flow.resume_reading()

    def _await_head(self) -> None:
        self.state.phase = Phase.HEAD
        self.state.has_begun = False
        self.state.since = self.loop.time()

    # The end

    def num_unsent(self) -> int:
        """How many bytes wait for the client to take them."""
        return self.transport.get_write_buffer_size()

    def expire(self) -> None:
        """Close, since the time is up; a request that has begun is refused."""
        state, limits = self.state, self._table.limits
        if state.phase is Phase.HEAD and state.has_begun:
            self._refuse(RefusedError.late("head", limits.head_timeout_s, "head_timeout_s"))
        elif state.phase is Phase.HEAD:
            self.writes.close_now()
        elif state.phase is Phase.LINGER:
            self.drop()
        else:
            self._refuse(RefusedError.late("body", limits.body_timeout_s, "body_timeout_s"))

    def drop(self) -> None:
        """Close at once, whatever was still to be sent."""
        self._held = b""
        self.transport.abort()

    def shutdown(self) -> None:
        """Close, after the current answer."""
        self._is_draining = True
        if self.state.phase is Phase.LINGER:
            self.drop()
        elif self.state.phase is Phase.HEAD or self.cycle.response_complete:
            self.writes.close_now()
        else:
            self.cycle.keep_alive = self._keeps_alive = False

    def _refuse(self, refusal: RefusedError) -> None:
        """Answer with a refusal, unless the request has an answer, and close."""
        self._table.note(refusal.kind, self.loop.time(), peer=self.state.peer, reason=str(refusal))
        if self.abandon_request():
            self.drop()
        else:
            self.writes.write_at_once(refusal.to_bytes(self.server_state.default_headers))
            self._linger()

    def abandon_request(self) -> bool:
        """End a request whose rest is not awaited; return whether its answer has begun."""
        if self.state.phase is not Phase.BODY:
            return False
        if not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        return self.cycle.response_started

    def _close(self) -> None:
        """Close once the client has read what was sent."""
        if self.state.phase is Phase.LINGER:
            return
        has_rest = self.state.phase is Phase.BODY or self._held
        if has_rest and not self._is_draining:
            self._linger()
        else:
            self.writes.close_now()

    def _linger(self) -> None:
        """Send no more, and discard what comes until the client closes.

        A socket that is closed with unread data resets the connection, by which the client may lose
        the answer before it has read it (https://www.rfc-editor.org/rfc/rfc9112#section-9.6).
        """
        if self.state.phase is Phase.BODY and self.cycle is not None:
            self.cycle.body = bytearray()  # of no use any more, and up to 128 KB
        self.state.phase = Phase.LINGER
        self.state.since = self.loop.time()
        self.writes.end()
        self._reading.open()
        held, self._held = len(self._held) - self._offset, b""
        self._discard(held)

    def _discard(self, num_bytes: int) -> None:
        self._num_discarded += num_bytes
        if self._num_discarded > self._table.limits.max_linger_bytes:
            self.drop()
