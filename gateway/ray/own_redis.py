"""The embedded server of a cluster whose nodes are all on this machine."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hedgerow.common.machine.private_folder import make_private
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.storage import StorageSettings
from hedgerow.gateway.local.processes.restart_policy import RestartPolicy
from hedgerow.gateway.local.processes.start_watch import StartWatch
from hedgerow.gateway.local.processes.supervisor import Event, Supervisor
from hedgerow.gateway.local.redis.keeper import RedisKeeper
from hedgerow.gateway.local.redis.server import EmbeddedRedis

_START_S: Final = 30.0


class OwnRedis:
    """Runs the embedded Valkey as a child of this process.

    Args:
        data: the folder of its files.
        settings: how much memory it may take, and when its disk counts as full.
        on_event: called on the loop for each event of the server's process.
    """

    def __init__(
        self, data: Path, settings: StorageSettings, on_event: Callable[[Event], None]
    ) -> None:
        make_private(data)
        self._settings = settings
        self._server = EmbeddedRedis(data, storage=settings)
        self._on_event = on_event
        self.supervisor = Supervisor(data, RestartPolicy(), self._note, _ignore)
        self._starting = StartWatch(self.supervisor, data / "logs", _START_S)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        """Its URL, of a Unix socket."""
        return self._server.url

    async def start(self) -> None:
        """Start it; returns when it answers.

        Raises:
            UnavailableError: it has died, or does not answer in time.
        """
        await self._starting.or_death(self.supervisor.start(self._server.program()))
        await self._starting.or_death(self._server.wait_until_ready(_START_S))
        self._tasks.append(asyncio.create_task(self._server.keep_synced(), name="sync"))

    def keep(self, control: RedisClient, keys: Keys) -> None:
        """Look after its disk, by a connection to it."""
        keeper = RedisKeeper(control, keys, self._server.folder, self._settings)
        self._tasks.append(asyncio.create_task(keeper.run(), name="redis keeper"))

    async def rest(self) -> None:
        """End what uses the connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        """Stop it; returns when its process has ended."""
        await self.rest()
        await self.supervisor.close()
        self._server.close()

    def _note(self, event: Event) -> None:
        self._starting.on_event(event)
        self._on_event(event)


async def _ignore(_name: str) -> None:
    pass
