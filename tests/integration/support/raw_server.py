"""A server whose connections follow scripts, for what no well-behaved server does."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Self


class Connection:
    """One connection, in a thread of its own."""

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self._received = b""

    def read_head(self) -> bytes:
        """Read to the end of a request's headers; b"" when the client has closed."""
        while b"\r\n\r\n" not in self._received:
            if not (data := self.socket.recv(65536)):
                return b""
            self._received += data
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        return head

    def read_request(self) -> tuple[bytes, bytes] | None:
        """Read a request whose length is named: head and body; None when the client has closed."""
        head = self.read_head()
        if not head:
            return None
        _, _, length = head.lower().partition(b"content-length: ")
        wanted = int(length.split(b"\r\n")[0]) if length else 0
        while len(self._received) < wanted:
            self._received += self.socket.recv(65536)
        body, self._received = self._received[:wanted], self._received[wanted:]
        return head, body

    def read_chunks(self) -> bytes:
        """Read the rest of a body in chunks, and return its bytes as they came."""
        while not self._received.endswith(b"0\r\n\r\n"):
            self._received += self.socket.recv(65536)
        data, self._received = self._received, b""
        return data

    def answer(self, body: bytes, status: str = "200 OK", headers: str = "") -> None:
        """Send a whole answer."""
        head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        self.socket.sendall(head.encode() + body)

    def is_left(self, wait_s: float) -> bool:
        """Whether the client closes the connection, or sends something, within `wait_s`."""
        return bool(select.select([self.socket], [], [], wait_s)[0])

    def read_to_end(self) -> None:
        """Wait until the client closes, and drop what it sends before that."""
        with contextlib.suppress(OSError):
            while self.socket.recv(65536):
                pass


class RawServer:
    """Accepts connections, and has each handled by a function in a thread.

    Attributes:
        num_accepted: connections so far.
    """

    def __init__(
        self, handle: Callable[[Connection], None], tls: ssl.SSLContext | None = None
    ) -> None:
        """Listen on any free port of 127.0.0.1, and encrypt by `tls` if it is given."""
        self._handle = handle
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[Exception] = []
        self.num_accepted = 0
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.url = f"{'http' if tls is None else 'https'}://{self.address}"

    def __enter__(self) -> Self:
        """Begin to accept."""
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections, and raise what a script has raised."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        for thread in self._threads:
            thread.join(timeout=10)
            assert not thread.is_alive()
        self._listening.close()
        for failure in self._failures:
            raise failure

    def hang_up(self) -> None:
        """Close all connections at this end."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            self.num_accepted += 1
            self._connections.append(accepted)
            self._start(lambda accepted=accepted: self._serve(accepted))  # type: ignore[misc]

    def _serve(self, accepted: socket.socket) -> None:
        with accepted:
            try:
                if self._tls is not None:
                    accepted = self._tls.wrap_socket(accepted, server_side=True)
                    self._connections.append(accepted)
            except OSError:
                return  # the client does not want it
            with accepted:
                try:
                    self._handle(Connection(accepted))
                except OSError:
                    pass  # closed at either end
                except Exception as failure:  # noqa: BLE001 - raised where the block ends
                    self._failures.append(failure)
