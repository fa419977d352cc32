"""The network of the blocking client: a socket for each request in flight."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any, Final

from hedgerow.gateway.client.calls import Call
from hedgerow.gateway.client.link import KEEPALIVE_S, Link
from hedgerow.gateway.client.network.failures import Failures
from hedgerow.gateway.client.network.forks import follow_forks
from hedgerow.gateway.client.network.idle import IdleConnections
from hedgerow.gateway.client.network.patience import share_s
from hedgerow.gateway.client.network.requests import LAST_CHUNK, RequestWriter, chunk
from hedgerow.gateway.client.network.response import Response, ResponseReader
from hedgerow.gateway.client.reply import Reply

_READ_BYTES: Final = 64 * 1024


class BlockingNetwork:
    """As many connections as there are requests in flight; usable from several threads."""

    def __init__(self, link: Link) -> None:
        """Connect at the first request."""
        self._link = link
        self._writer = RequestWriter(link.address, link.token)
        self._ssl = link.ssl_context()
        self._idle: IdleConnections[_Connection] = IdleConnections(KEEPALIVE_S)
        self._is_closed = False
        self._lock = threading.Lock()  # for the two above
        follow_forks(self)

    def send(self, call: Call[Any], content: Iterable[bytes] | None = None) -> Reply:
        """Send a call, with `content` as its body if given, and return the reply.

        Raises:
            UnavailableError: no gateway answers in time.
        """
        timeout_s = self._link.timeout_s(call)
        connection = self._take() or self._connect()
        try:
            if content is None:
                response = connection.exchange(self._writer.whole(call), timeout_s)
            else:
                response = connection.upload(self._writer.chunked(call), content, timeout_s)
        except BaseException:
            connection.close()  # a late answer would be taken for the next request's
            raise
        self._give_back(connection)
        return Reply(self._link.url, *response)

    def close(self) -> None:
        """Close idle connections; the others close when their requests end."""
        with self._lock:
            self._is_closed = True
            connections = self._idle.clear()
        for connection in connections:
            connection.close()

    def forget(self) -> None:
        """Drop the connections, which belong to the process that this one was forked from."""
        self._lock = threading.Lock()  # a thread of that process may have held it
        for connection in self._idle.clear():
            connection.close()  # without a word to the server, with TLS too

    def _take(self) -> "_Connection | None":
        while True:
            with self._lock:
                expired = self._idle.expire(time.monotonic())
                connection = self._idle.take()
            for old in expired:
                old.close()
            if connection is None or connection.is_silent():
                return connection
            connection.close()  # the server has closed it

    def _give_back(self, connection: "_Connection") -> None:
        with self._lock:
            is_kept = connection.is_reusable and not self._is_closed
            if is_kept:
                self._idle.put(connection, time.monotonic())
        if not is_kept:
            connection.close()

    def _connect(self) -> "_Connection":
        address = self._link.address
        with Failures(self._link.url, "connect"):
            made = _connected(address.host, address.port, self._link.connect_timeout_s)
            made.settimeout(self._link.connect_timeout_s)
            try:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._ssl is not None:
                    made = self._ssl.wrap_socket(made, server_hostname=address.host)
            except BaseException:
                made.close()
                raise
        return _Connection(made, self._link.url)


def _connected(host: str, port: int, timeout_s: float) -> socket.socket:
    """Connect to the first address of a host that takes a connection.

    Raises:
        OSError: none does in time; why the first did not.
    """
    ends_at = time.monotonic() + timeout_s
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failures: list[OSError] = []
    try:
        for number, (*_, address) in enumerate(addresses):
            wait_s = share_s(ends_at - time.monotonic(), len(addresses) - number)
            try:
                return socket.create_connection((str(address[0]), port), wait_s)
            except OSError as error:
                failures.append(error)
        raise failures[0] if failures else OSError(f"{host} has no address")
    finally:
        failures.clear()  # or they would be in a cycle with this frame


class _Connection:
    """One socket, for one request at a time."""

    def __init__(self, connected: socket.socket, url: str) -> None:
        self._socket = connected
        self._url = url
        self._reader = ResponseReader()
        self.close = connected.close

    @property
    def is_reusable(self) -> bool:
        return self._reader.is_reusable

    def exchange(self, request: bytes, timeout_s: float) -> Response:
        deadline = time.monotonic() + timeout_s
        self._reader.expect()
        with Failures(self._url, "write"):
            self._socket.settimeout(timeout_s)
            self._socket.sendall(request)
        return self._receive(deadline)

    def upload(self, head: bytes, pieces: Iterable[bytes], timeout_s: float) -> Response:
        self._reader.expect()
        is_whole = self._is_sent(head, timeout_s) and self._are_sent(pieces, timeout_s)
        response = self._receive(time.monotonic() + timeout_s)
        # If the server has answered before the end of the body, it may wait for the rest.
        self._reader.is_reusable &= is_whole
        return response

    def _are_sent(self, pieces: Iterable[bytes], timeout_s: float) -> bool:
        for piece in pieces:
            if piece and not self._is_sent(chunk(piece), timeout_s):
                return False
        return self._is_sent(LAST_CHUNK, timeout_s)

    def _is_sent(self, data: bytes, timeout_s: float) -> bool:
        """Send a part; returns False if the server has answered already, or does not take it."""
        with Failures(self._url, "write"):
            try:
                if not self.is_silent():
                    self._read_ahead()
                if self._reader.is_done:
                    return False
                self._socket.settimeout(timeout_s)
                self._socket.sendall(data)
            except TimeoutError:
                raise
            except OSError:
                return False  # its answer before it closed may still be readable
        return True

    def _receive(self, deadline: float) -> Response:
        reader = self._reader
        with Failures(self._url, "read"):
            while not reader.is_done:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError
                self._socket.settimeout(left_s)
                self._feed(self._socket.recv(_READ_BYTES))
            return reader.take()

    def _feed(self, data: bytes) -> None:
        if data:
            self._reader.feed(data)
        else:
            self._reader.end()

    def _read_ahead(self) -> None:
        self._socket.settimeout(0)
        # The received bytes may belong to TLS, with no data for the reader.
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            self._feed(self._socket.recv(_READ_BYTES))

    def is_silent(self) -> bool:
        """Return whether nothing has arrived, not even EOF; checks below TLS, without waiting."""
        self._socket.settimeout(0)
        try:
            socket.socket.recv(self._socket, 1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False
