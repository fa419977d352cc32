"""SQLite connections, one for each thread that asks for one."""

import sqlite3
import threading
from collections.abc import Callable


class ThreadConnections:
    """Gives each thread a connection of its own, and closes it when the thread ends.

    Without that, a process that starts a thread for each call of some kind would keep the files and
    the page cache of one more connection for each of them.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """Make connections by `connect`; other threads must be allowed to close them."""
        self._connect = connect
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: set[sqlite3.Connection] = set()

    def own(self) -> sqlite3.Connection:
        """The connection of the calling thread."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is None:
            connection = self._connect()
            with self._lock:
                self._open.add(connection)
            held = self._local.held = _Held(connection, self._drop)
        return held.connection

    def close(self) -> None:
        """Close all; a thread that asks again gets another one."""
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            connection.close()
        self._local = threading.local()

    def _drop(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.close()


class _Held:
    """Is referenced by the variables of one thread alone, and so goes when they do."""

    __slots__ = ("_drop", "connection")

    def __init__(
        self, connection: sqlite3.Connection, drop: Callable[[sqlite3.Connection], None]
    ) -> None:
        self.connection = connection
        self._drop = drop

    def __del__(self) -> None:
        self._drop(self.connection)
