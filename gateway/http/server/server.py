"""An HTTP/1.1 server for one application, on a listening socket.

The protocol is `Connection`, over asyncio's transports. There is no ASGI lifespan: the caller opens
what the application uses before the server starts, and closes it after the last answer.
"""

import asyncio
import socket
from typing import Final

import structlog
from starlette.types import ASGIApp

from hedgerow.gateway.http.server.certificate import Certificate
from hedgerow.gateway.http.server.connection import Connection
from hedgerow.gateway.http.server.connection_table import ConnectionTable
from hedgerow.gateway.http.server.server_state import ServerState
from hedgerow.gateway.http.server.tls_transport import TlsConnection

log = structlog.get_logger()

BACKLOG: Final = 2048
# An accepted connection uses a descriptor for two turns of the loop before it is counted, and the
# connection that is closed for it keeps its descriptor for another turn.
_MAX_ACCEPTED_AT_ONCE: Final = 8
# Requests that are cancelled at the end of a drain have this long to write their answers.
_CANCELLED_ANSWER_S: Final = 0.5


class HttpServer:
    """Serves an application until it is drained."""

    def __init__(
        self, app: ASGIApp, table: ConnectionTable, certificate: Certificate | None = None
    ) -> None:
        """Serve `app`, on connections within the limits of `table`.

        With a certificate, clients speak HTTPS.
        """
        self._state = ServerState(app, table)
        self._certificate = certificate
        self._listening: list[asyncio.Server] = []

    @property
    def num_in_flight(self) -> int:
        """How many requests are being answered."""
        return len(self._state.tasks)

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on a bound socket, which is closed when the drain begins.

        May be called again, for another socket.
        """
        loop = asyncio.get_running_loop()
        self._listening.append(
            await loop.create_server(self._connect, sock=listener, backlog=_MAX_ACCEPTED_AT_ONCE)
        )
        # asyncio uses one number for two things: how many connections are accepted in one turn of
        # the loop, all before any is counted, and how many the system queues.
        listener.listen(BACKLOG)

    def _connect(self) -> asyncio.BaseProtocol:
        if self._certificate is None:
            return Connection(self._state)
        return TlsConnection(self._state, self._certificate)

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, and finish the requests in flight; end the rest after `timeout_s`."""
        state = self._state
        for listening in self._listening:
            listening.close()
        state.is_draining = True
        for connection in list(state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(timeout_s):
                await state.wait_closed()
                while state.tasks:  # of disconnected clients
                    await asyncio.wait(state.tasks)
        except TimeoutError:
            await self._end()

    async def _end(self) -> None:
        state = self._state
        log.error("drain_timed_out", requests=len(state.tasks), connections=len(state.connections))
        for task in state.tasks:
            task.cancel()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=_CANCELLED_ANSWER_S)
        for connection in list(state.connections):
            connection.drop()
        await state.wait_closed()
