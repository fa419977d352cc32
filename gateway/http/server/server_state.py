"""The state that the connections of a server share."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from starlette.types import ASGIApp

from hedgerow.common.runtime.alarms import Alarms
from hedgerow.gateway.http.protocol.known_heads import KnownHeads
from hedgerow.gateway.http.protocol.response_head import DateLine
from hedgerow.gateway.http.search.search_exchange import PlainSearches
from hedgerow.gateway.http.server.connection_table import ConnectionTable


class Drainable(Protocol):
    """A connection as the server sees it."""

    def shutdown(self) -> None:
        """Close, after the current answer."""

    def drop(self) -> None:
        """Close at once."""


class ServerState:
    """The state that the connections of a server share.

    Attributes:
        app: answers requests.
        searches: answers plain searches without the application; None if it has none.
        table: limits the connections.
        date_line: the field Date of answers.
        alarms: the timers of refusals that wait.
        known_heads: heads of requests that were read lately.
        connections: the open connections.
        tasks: the tasks of requests that are being answered.
        is_draining: whether new connections are closed at once.
        loop: the event loop.
    """

    def __init__(self, app: ASGIApp, table: ConnectionTable) -> None:
        """Answer requests with `app`, on connections within the limits of `table`."""
        self.app = app
        self.searches = PlainSearches.of(app)
        self.table = table
        self.date_line = DateLine()
        self.alarms = Alarms()
        self.known_heads = KnownHeads()
        self.connections: set[Drainable] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_draining = False
        self.loop = asyncio.get_running_loop()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run the task that answers a request, until it calls `finish`.

        A callback at its end would cost another turn of the loop, with a system call.
        """
        task = self.loop.create_task(work)
        self.tasks.add(task)
        return task

    def finish(self, task: asyncio.Task[None]) -> None:
        """The task that answers a request has nothing more to do."""
        self.tasks.discard(task)

    def add(self, connection: Drainable) -> None:
        """A connection was opened."""
        self.connections.add(connection)
        self._is_empty.clear()

    def forget(self, connection: Drainable) -> None:
        """A connection was closed."""
        self.connections.discard(connection)
        if not self.connections:
            self._is_empty.set()

    async def wait_closed(self) -> None:
        """Wait until no connection is left."""
        await self._is_empty.wait()
