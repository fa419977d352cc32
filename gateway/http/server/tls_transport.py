"""TLS between a connection and its socket.

asyncio can encrypt by itself, but it tells its protocol of a connection only after the handshake,
and does not say how many encrypted bytes wait for the client. A client could then hold any number
of connections without a request, and any number of unread answers. Here, `Connection` knows the
client at once: the handshake counts towards the time for the first head, and the bytes that wait
are those of the socket.
"""

import asyncio
import contextlib
import ssl
from typing import Any, Final

from hedgerow.gateway.http.server.certificate import Certificate
from hedgerow.gateway.http.server.connection import Connection
from hedgerow.gateway.http.server.server_state import ServerState

_MAX_RECORD_BYTES: Final = 16_384


class TlsTransport(asyncio.Transport):
    """Encrypts its output.

    Attributes:
        has_ended: whether the client has announced the end of its input.
    """

    def __init__(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        """Encrypt over `transport`."""
        super().__init__()
        self._transport = transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._is_established = False
        self._early = b""  # written before the handshake was done
        self._is_ending = False
        self._has_said_goodbye = False
        self._is_closing = False
        self.has_ended = False

    @property
    def is_established(self) -> bool:
        """Whether the handshake is complete."""
        return self._is_established

    def keep(self, data: bytes) -> None:
        """Keep received bytes until more is decrypted."""
        self._incoming.write(data)

    def decrypt(self, data: bytes = b"") -> bytes:
        """Decrypt received bytes; continues the handshake until it is complete.

        Raises:
            ssl.SSLError: it is not TLS, or not of this connection.
        """
        if self._is_ending and self._is_established:
            return data  # it is only counted and discarded
        self._incoming.write(data)
        parts = []
        try:
            if not self._is_established:
                self._tls.do_handshake()
                self._establish()
            while part := self._tls.read(_MAX_RECORD_BYTES):
                parts.append(part)
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        finally:
            self._flush()  # the answer of the handshake, or the alert
        return b"".join(parts)

    def _establish(self) -> None:
        self._is_established = True
        early, self._early = self._early, b""
        if early:
            self.write(early)
        if self._is_ending:
            self._end()

    def write(self, data: Any) -> None:
        """Encrypt and send, unless the connection is closed or about to be."""
        if self._is_closing or self._has_said_goodbye:
            return
        if not self._is_established:
            self._early += data
            return
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        self._flush()

    def write_eof(self) -> None:
        """Tell the client that this is the end of the output."""
        self._is_ending = True
        if self._is_established:
            self._end()

    def close(self) -> None:
        """Tell the client that this is the end of the output, and close once it is sent."""
        self._send_close_notify()
        self._is_closing = True
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._is_closing = True
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._is_closing or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Stop receiving."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        """How many encrypted bytes wait for the client to read them."""
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Information on the socket, and on the encryption as `ssl_object`."""
        return self._tls if name == "ssl_object" else self._transport.get_extra_info(name, default)

    def _end(self) -> None:
        self._send_close_notify()
        self._transport.write_eof()

    def _send_close_notify(self) -> None:
        if self._is_closing or self._has_said_goodbye:
            return
        self._has_said_goodbye = True
        # The client's own is not awaited, and none is sent during a handshake.
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._transport.write(data)


class TlsConnection(asyncio.BufferedProtocol):
    """A connection with TLS."""

    _transport: TlsTransport

    def __init__(self, server: ServerState, certificate: Certificate) -> None:
        """Serve a client with `certificate`; shares `server` with the other connections."""
        self._table = server.table
        self._handshakes = server.table.handshakes
        self._is_waiting = False  # for its turn to continue the handshake
        self._loop = server.loop
        self._context = certificate.context
        self._connection = Connection(server)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the handshake, as a part of the first head."""
        self._transport = TlsTransport(transport, self._context)  # type: ignore[arg-type] # a stream
        self._connection.connection_made(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._is_waiting:
            self._handshakes.leave(self._connection.state.peer, self)
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Too many bytes wait for the client."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """The client has read most of them."""
        self._connection.resume_writing()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the transport has no hint
        """Return the buffer for received bytes, which all connections share."""
        return self._table.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt the bytes in the buffer, and pass them on."""
        data = bytes(self._table.buffer[:nbytes])
        if self._transport.is_established:
            self._take(data)
            return
        self._transport.keep(data)
        if self._is_waiting:
            return
        peer = self._connection.state.peer
        if not self._handshakes.ask(peer, self):
            self._is_waiting = True
            self._transport.pause_reading()  # further bytes wait in the socket
            self._table.note("tls_handshakes_delayed", self._loop.time(), peer=peer)

    def shake_hands(self) -> None:
        """Continue the handshake with the received bytes."""
        if self._is_waiting:
            self._is_waiting = False
            self._transport.resume_reading()
        if not self._transport.is_closing():
            self._take(b"")

    def _take(self, data: bytes) -> None:
        transport = self._transport
        try:
            data = transport.decrypt(data)
        except ssl.SSLError as error:
            peer = self._connection.state.peer
            self._table.note("tls_failures", self._loop.time(), peer=peer, reason=error.reason)
            transport.close()
            return
        if data:
            self._connection.data_received(data)
        if transport.has_ended:
            transport.close()
