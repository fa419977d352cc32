"""A connection whose transport records what was asked of it."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.gateway.http.server.connection import Connection
from hedgerow.gateway.http.server.connection_table import ConnectionTable
from hedgerow.gateway.http.server.server_state import ServerState


class RecordingTransport(asyncio.Transport):
    """Records what is asked of it; full once it has `room` bytes."""

    def __init__(self, room: int = 2**20, peer: str = "192.0.2.7") -> None:
        super().__init__({"peername": (peer, 50_000)})
        self.calls: list[bytes | str] = []
        self.protocol: Connection | None = None
        self.closed = asyncio.Event()
        self.unsent_bytes = 0
        self._room = room

    def write(self, data: Any) -> None:
        """Keep the data, and say when there is too much of it."""
        self.calls.append(bytes(data))
        self._room -= len(data)
        if self._room < 0 and self.protocol is not None:
            self.protocol.pause_writing()

    def close(self) -> None:
        """Keep the call."""
        self.calls.append("close")
        self.closed.set()

    def abort(self) -> None:
        """Keep the call."""
        self.calls.append("abort")
        self.closed.set()

    def pause_reading(self) -> None:
        """Keep the call."""
        self.calls.append("pause_reading")

    def resume_reading(self) -> None:
        """Keep the call."""
        self.calls.append("resume_reading")

    def write_eof(self) -> None:
        """Keep the call."""
        self.calls.append("write_eof")

    def get_write_buffer_size(self) -> int:
        """How much was written and not taken: nothing, unless a test says otherwise."""
        return self.unsent_bytes

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed.is_set()

    @property
    def num_writes(self) -> int:
        """How many writes there were."""
        return sum(isinstance(call, bytes) for call in self.calls)

    @property
    def written(self) -> bytes:
        """All bytes in their order."""
        return b"".join(call for call in self.calls if isinstance(call, bytes))


Way = Callable[[ASGIApp], ASGIApp]
DATE = b"date: Thu, 26 Nov 2026 05:00:00 GMT\r\n"


def connect(
    app: Any,
    room: int = 2**20,
    peer: str = "192.0.2.7",
    *,
    table: ConnectionTable | None = None,
    server: ServerState | None = None,
) -> tuple[Connection, RecordingTransport]:
    """Serve a connection whose other end is a record, in `table` if that is given."""
    if server is None:
        server = ServerState(app, table or ConnectionTable(ConnectionSettings(), Counters()))
    connection, transport = Connection(server), RecordingTransport(room, peer)
    connection.date_line = lambda: DATE  # type: ignore[assignment] # which is as callable
    transport.protocol = connection
    connection.connection_made(transport)
    return connection, transport


def plain(app: ASGIApp) -> ASGIApp:
    """The application as it is, whose plain searches a connection answers itself."""
    return app


def by_asgi(app: ASGIApp) -> ASGIApp:
    """The application as any other, which is asked by ASGI for all that it answers."""

    async def hidden(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return hidden


async def turn() -> None:
    """Run all that is ready, and all that this makes ready."""
    for _ in range(20):
        await asyncio.sleep(0)
