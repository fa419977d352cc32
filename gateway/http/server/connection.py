"""Connections with limits on what their clients can use of a gateway.

`RequestReader` turns received bytes into requests, one at a time; an `Exchange` answers each. This
module is between the two: it decides when the connection is read and how it ends, and records the
state by which `connection_policy` decides how long a connection may stay in each phase, and which
connection is closed to make room for another.
"""

import asyncio
from typing import Any, Final, cast

from hedgerow.gateway.http.protocol.asgi_exchange import Address, AsgiExchange, scope_of
from hedgerow.gateway.http.protocol.connection_policy import ConnectionState, Phase, peer_of
from hedgerow.gateway.http.protocol.exchange import Exchange
from hedgerow.gateway.http.protocol.reading import Reading
from hedgerow.gateway.http.protocol.refusal import RefusedError
from hedgerow.gateway.http.protocol.refusal_pace import ConnectionPace
from hedgerow.gateway.http.protocol.request_head import RequestHead
from hedgerow.gateway.http.protocol.request_reader import RequestReader
from hedgerow.gateway.http.protocol.writing import Writing
from hedgerow.gateway.http.server.server_state import ServerState

# If a request is answered before its body has arrived, the connection is kept if no more than this
# many bytes remain.
_MAX_DISCARDED_BYTES: Final = 65_536
# Used for each request, and looking up a member of an enum is slow.
_HEAD: Final = Phase.HEAD
_BODY: Final = Phase.BODY
_ANSWER: Final = Phase.ANSWER
_LINGER: Final = Phase.LINGER


class Connection(asyncio.BufferedProtocol):
    """A client's connection, within the limits of a table.

    Attributes:
        state: the state of the connection, for the table.
        reading: controls when more of a request is read.
        writing: takes the answer.
        pace: decides when refusals are sent.
        alarms: the timers of refusals that wait.
    """

    state: ConnectionState
    reading: Reading
    writing: Writing
    pace: ConnectionPace

    def __init__(self, server: ServerState) -> None:
        """Serve a client; shares `server` with the other connections."""
        self._server = server
        self._loop = server.loop
        self._table = server.table
        self._reader = RequestReader(server.table.limits, self, server.known_heads)
        self._exchange: Exchange | None = None  # of the current request
        self._keeps_alive = False  # whether the client lets the connection stay open
        self._is_dated = False  # whether the state records when the body began
        self._is_draining = False
        self._num_discarded = 0
        # Used for each request
        self.start = server.start
        self.finish = server.finish
        self.date_line = server.date_line
        self.alarms = server.alarms

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve a connection, or refuse it if there is no room for it."""
        stream = cast("asyncio.Transport", transport)
        now = self._loop.time()
        self._client = _address(stream.get_extra_info("peername"))
        self._local = _address(stream.get_extra_info("sockname"))
        self._scheme = "http" if stream.get_extra_info("ssl_object") is None else "https"
        self.state = ConnectionState(peer_of(self._client[0]) if self._client else "", now)
        self.reading = Reading(stream, self.state, self._loop)
        self.writing = Writing(stream)
        self.pace = ConnectionPace(self._table.pace, self.state.peer)
        self._server.add(self)
        has_room = self._table.admit(self, now)
        if self._server.is_draining:
            self.shutdown()
        elif not has_room:
            self._refuse(RefusedError.no_room())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason does not matter
        """Forget the connection, and end its request."""
        self._table.forget(self)
        self._server.forget(self)
        self._reader.close()
        self._abandon()
        self.writing.resume()  # so that an answer that waits for room ends

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the transport has no hint
        """Return the buffer for received bytes, which all connections share."""
        return self._table.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Read the bytes in the buffer."""
        self.data_received(bytes(self._table.buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Read a request, and hold the bytes after it until it has been answered."""
        if self.state.phase is _LINGER:
            self._discard(len(data))
            return
        try:
            self._reader.read(data)
        except RefusedError as refusal:
            self._refuse(refusal)
        else:
            self._after_read()

    def pause_writing(self) -> None:
        """Stop answering, and check whether too many bytes wait for clients."""
        self.writing.pause()
        now = self._loop.time()
        self.state.look_at_unsent(self.num_unsent(), now)
        self._table.bound_unsent(now)

    def resume_writing(self) -> None:
        """Continue to answer."""
        self.writing.resume()

    # Reading

    def _read_on(self) -> None:
        if self.writing.is_closing or not self._reader.num_held:
            return  # the connection has ended since
        try:
            self._reader.read_on()
        except RefusedError as refusal:
            self._refuse(refusal)
        else:
            self._after_read()

    def _after_read(self) -> None:
        if self._reader.num_held:
            self.reading.hold()
            if not self._reader.is_waiting:
                self._loop.call_soon(self._read_on)
            return
        if self.reading.is_paused:
            self.reading.release()
        if self.state.phase is not _ANSWER:
            self._date()

    def _date(self) -> None:
        """Record when the wait for the rest of a request began."""
        state = self.state
        if state.phase is _BODY:
            if state.is_load or not self._is_dated:
                self._is_dated = True
                state.since = self._loop.time()
        elif not state.has_begun and self._reader.has_head_begun:
            state.has_begun = True
            state.since = self._loop.time()

    def begin_request(self, head: RequestHead, num_bytes: int | None) -> None:
        """A head has arrived; its body has `num_bytes`, or is chunked if None."""
        state, server = self.state, self._server
        exchange: Exchange | None = None
        if server.searches is not None:
            exchange = server.searches.begin(head, num_bytes, state.peer, self)
        is_plain = exchange is not None
        if exchange is None:
            scope = scope_of(head, self._scheme, self._client, self._local)
            exchange = AsgiExchange(scope, head, self)
            exchange.start(server.app)
        self._exchange = exchange
        self._keeps_alive = exchange.keep_alive
        if not is_plain and (
            num_bytes is None or num_bytes > _MAX_DISCARDED_BYTES or head.has_expect
        ):
            # Until the body has arrived, an answer closes the connection, and must say so.
            exchange.keep_alive = False
        state.is_load = not is_plain and head.is_load
        self._is_dated = False
        state.phase = _BODY

    def add_body(self, data: bytes) -> None:
        """A part of the body has arrived."""
        if self._exchange is not None:
            self._exchange.add_body(data)

    def end_request(self) -> None:
        """The request is complete: wait for the answer, unless it was sent already."""
        exchange = self._exchange
        self.state.phase = _ANSWER
        self.state.has_asked = True
        if exchange is None or exchange.is_complete:
            self._await_head()
            return
        if not exchange.has_begun:
            exchange.keep_alive = self._keeps_alive
        exchange.end_body()

    # Answering

    def end_answer(self) -> None:
        """The whole answer was written: start the next request, or become idle."""
        exchange = self._exchange
        if exchange is None:
            return
        if not exchange.keep_alive:
            self.close_after_answer()
        if self.writing.is_closing:
            return
        if self.state.phase is _ANSWER:
            self._await_head()
            if self._reader.num_held:
                self._loop.call_soon(self._read_on)
        if self.reading.is_paused:
            self.reading.resume()

    def close_after_answer(self) -> None:
        """Close once the client has read what was written."""
        if self.state.phase is _LINGER:
            return
        has_rest = self.state.phase is _BODY or self._reader.num_held
        if has_rest and not self._is_draining:
            self._linger()
        else:
            self.writing.close()

    def _await_head(self) -> None:
        self._exchange = None
        self._reader.is_waiting = False
        state = self.state
        state.phase = _HEAD
        state.has_begun = False
        state.since = self._loop.time()

    # The end

    def num_unsent(self) -> int:
        """How many bytes wait for the client to read them."""
        return self.writing.num_unsent()

    def expire(self) -> None:
        """Close because of a timeout; a request that has begun is refused."""
        state, limits = self.state, self._table.limits
        if state.phase is _HEAD and state.has_begun:
            self._refuse(RefusedError.late("head", limits.head_timeout_s, "head_timeout_s"))
        elif state.phase is _HEAD:
            self.writing.close()
        elif state.phase is _LINGER:
            self.drop()
        else:
            self._refuse(RefusedError.late("body", limits.body_timeout_s, "body_timeout_s"))

    def drop(self) -> None:
        """Close at once, even if bytes are unsent."""
        self._reader.close()
        self.writing.abort()

    def shutdown(self) -> None:
        """Close after the current answer."""
        self._is_draining = True
        exchange = self._exchange
        if self.state.phase is _LINGER:
            self.drop()
        elif exchange is None or exchange.is_complete:
            self.writing.close()
        else:
            exchange.keep_alive = self._keeps_alive = False

    def _refuse(self, refusal: RefusedError) -> None:
        """Send a refusal, unless an answer has begun, and close."""
        now = self._loop.time()
        self._table.note(refusal.kind, now, peer=self.state.peer, reason=str(refusal))
        exchange = self._exchange
        self._abandon()
        if exchange is not None and exchange.has_begun:
            self.drop()
        else:
            self.writing.write(refusal.to_bytes(self.date_line()))
            self._linger()

    def _abandon(self) -> None:
        """End the current request, since its rest or its answer is of no use any more."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.leave()

    def _linger(self) -> None:
        """Stop sending, and discard received bytes until the client closes.

        Closing a socket with unread data resets the connection, so that the client may lose the
        answer before it has read it (https://www.rfc-editor.org/rfc/rfc9112#section-9.6).
        """
        self._abandon()
        self.state.phase = _LINGER
        self.state.since = self._loop.time()
        self.writing.end()
        self.reading.open()
        num_held = self._reader.num_held
        self._reader.close()
        self._discard(num_held)

    def _discard(self, num_bytes: int) -> None:
        self._num_discarded += num_bytes
        if self._num_discarded > self._table.limits.max_linger_bytes:
            self.drop()


def _address(given: Any) -> Address | None:
    """Return an IP address and its port; None if the connection has ended already."""
    return (str(given[0]), int(given[1])) if isinstance(given, tuple) else None
