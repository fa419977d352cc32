"""The Redis of a cluster on this machine: embedded servers, or one that is named."""

import asyncio
from pathlib import Path

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.local.cluster_options import ClusterOptions
from hedgerow.gateway.local.processes.start_watch import StartWatch
from hedgerow.gateway.local.processes.supervisor import Supervisor
from hedgerow.gateway.local.redis import server as embedded_redis
from hedgerow.gateway.local.redis.keeper import RedisKeeper
from hedgerow.gateway.local.redis.nodes import EmbeddedNodes, num_nodes_in
from hedgerow.gateway.local.redis.server import EmbeddedRedis

_REDIS_TIMEOUT_S = 30.0


class ClusterRedis:
    """Starts the embedded servers, unless a server is named, and tends them while they run.

    Attributes:
        url: the server's URL; set once started.
        settings: how the cluster's processes reach it.
    """

    def __init__(
        self,
        options: ClusterOptions,
        settings: Settings,
        data: Path,
        supervisor: Supervisor,
        starting: StartWatch,
    ) -> None:
        """Prepare to start what the options ask for.

        Args:
            options: of the cluster.
            settings: of this process.
            data: the cluster's folder.
            supervisor: keeps the servers alive.
            starting: watches the start.
        """
        self.url = options.redis_url or ""
        self.settings = settings.redis
        self._options = options
        self._settings = settings
        self._data = data
        self._supervisor = supervisor
        self._starting = starting
        self._server: EmbeddedRedis | None = None
        self._nodes: EmbeddedNodes | None = None
        self._sync: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the embedded servers, if they are the cluster's.

        Raises:
            ConfigurationError: the settings name a user or a password.
            UnavailableError: a server died while starting, or took too long.
        """
        if self._options.redis_url is not None:
            return
        if self._settings.redis.password or self._settings.redis.username:
            raise ConfigurationError(
                "redis.password: the embedded server takes none; it is reached by a Unix socket "
                "that is this user's alone. Unset it, or name the server with --redis"
            )
        self._server = EmbeddedRedis(self._data, storage=self._settings.storage)
        self.url = self._server.url
        await self._starting.or_death(self._supervisor.start(self._server.program()))
        await self._starting.or_death(self._server.wait_until_ready(_REDIS_TIMEOUT_S))
        self._sync = asyncio.create_task(self._server.keep_synced(), name="sync")
        if number := self._options.redis_nodes or num_nodes_in(self._data):
            await self._start_nodes(number, self._server.url)

    async def _start_nodes(self, number: int, control_url: str) -> None:
        self._nodes = nodes = EmbeddedNodes(self._data, number)
        await self._starting.or_death(self._supervisor.start(*nodes.programs()))
        await self._starting.or_death(nodes.wait_until_ready(_REDIS_TIMEOUT_S))
        self.settings = nodes.settings(self._settings.redis, control_url)
        self.url = self.settings.url

    async def join(self) -> RedisClient:
        """Connect to it; the caller closes the client."""
        self.settings = settings = self.settings.model_copy(update={"url": self.url})
        control = await connect(settings)
        if self._server is not None:
            keys = Keys.of(settings)
            keeper = RedisKeeper(control, keys, self._server.folder, self._settings.storage)
            self._keeper = asyncio.create_task(keeper.run(), name="redis keeper")
        return control

    async def stop_tending(self) -> None:
        """End what runs beside the embedded servers."""
        for task in filter(None, (self._keeper, self._sync)):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def close(self) -> None:
        """Give up the embedded servers' ports and socket, after the servers have ended."""
        if self._nodes is not None:
            self._nodes.close()
        if self._server is not None:
            self._server.close()

    def lines(self) -> dict[str, str]:
        """Name of each embedded server's process → what it is, in the order of their start."""
        return {
            **({embedded_redis.NAME: self._server.url} if self._server is not None else {}),
            **({} if self._nodes is None else self._nodes.lines()),
        }

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which workers and gateways find several servers."""
        if self._nodes is None or self._server is None:
            return {}
        return self._nodes.environment | {"HEDGEROW_REDIS__CONTROL_URL": self._server.url}
