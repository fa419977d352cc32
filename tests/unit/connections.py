"""A connection whose other end is a record of what was asked of it."""

import asyncio
from typing import Any, TypeVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from common.config_connections import ConnectionSettings
from common.telemetry import Counters
from gateway.http.connection_table import ConnectionTable
from gateway.http.guarded_connection import GuardedConnection

P = TypeVar("P", bound=HttpToolsProtocol)


class RecordingTransport(asyncio.Transport):
    """Keeps what is asked of it; full once it has `room` bytes."""

    def __init__(self, room: int = 2**20, peer: str = "192.0.2.7") -> None:
        super().__init__({"peername": (peer, 50_000)})
        self.calls: list[bytes | str] = []
        self.protocol: HttpToolsProtocol | None = None
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


def connect(
    protocol_type: type[P], app: Any, room: int = 2**20, peer: str = "192.0.2.7", **settings: Any
) -> tuple[P, RecordingTransport]:
    """Serve a connection whose other end is a record, in `table` if that is among the settings."""
    settings = {"log_config": None, "access_log": False, **settings}
    table = settings.pop("table", None) or ConnectionTable(ConnectionSettings(), Counters())
    config = uvicorn.Config(app, lifespan="off", **settings)
    state = ServerState()
    state.default_headers = [(b"date", b"Thu, 26 Nov 2026 05:00:00 GMT")]
    needed: dict[str, Any] = (
        {"table": table} if issubclass(protocol_type, GuardedConnection) else {}
    )
    protocol, transport = protocol_type(config, state, {}, **needed), RecordingTransport(room, peer)
    transport.protocol = protocol
    protocol.connection_made(transport)
    return protocol, transport


async def turn() -> None:
    """Let all that is ready run, and what that makes ready."""
    for _ in range(20):
        await asyncio.sleep(0)
