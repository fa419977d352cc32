"""A connection whose other end is a record of what was asked of it."""

import asyncio
from typing import Any, TypeVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

P = TypeVar("P", bound=HttpToolsProtocol)


class RecordingTransport(asyncio.Transport):
    """Keeps what is asked of it; full once it has `room` bytes."""

    def __init__(self, room: int = 2**20) -> None:
        super().__init__()
        self.calls: list[bytes | str] = []
        self.protocol: HttpToolsProtocol | None = None
        self.closed = asyncio.Event()
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

    def pause_reading(self) -> None:
        """Keep the call."""
        self.calls.append("pause_reading")

    def resume_reading(self) -> None:
        """Keep the call."""
        self.calls.append("resume_reading")

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return "close" in self.calls

    @property
    def num_writes(self) -> int:
        """How many writes there were."""
        return sum(isinstance(call, bytes) for call in self.calls)

    @property
    def written(self) -> bytes:
        """All bytes in their order."""
        return b"".join(call for call in self.calls if isinstance(call, bytes))


def connect(
    protocol_type: type[P], app: Any, room: int = 2**20, **settings: Any
) -> tuple[P, RecordingTransport]:
    """Serve a connection whose other end is a record."""
    settings = {"log_config": None, "access_log": False, **settings}
    config = uvicorn.Config(app, lifespan="off", **settings)
    state = ServerState()
    state.default_headers = [(b"date", b"Thu, 26 Nov 2026 05:00:00 GMT")]
    protocol, transport = protocol_type(config, state, {}), RecordingTransport(room)
    transport.protocol = protocol
    protocol.connection_made(transport)
    return protocol, transport


async def turn() -> None:
    """Let all that is ready run, and what that makes ready."""
    for _ in range(20):
        await asyncio.sleep(0)
