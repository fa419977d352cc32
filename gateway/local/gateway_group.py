"""Several gateway processes that share a port, and a supervisor that keeps them running.

Each has a listening socket of its own for the same port (SO_REUSEPORT, socket(7)), and Linux
spreads new connections over them. When a process dies, its socket is gone at once, and new
connections go to the others.
"""

import socket
import sys
from collections.abc import Callable
from typing import Final

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.gateways import GatewayStore
from hedgerow.common.state.layout import current_keys
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.http.server.certificate import Certificate
from hedgerow.gateway.local.locks import check_port
from hedgerow.gateway.local.processes.restart_policy import RestartPolicy
from hedgerow.gateway.local.processes.start_watch import StartWatch
from hedgerow.gateway.local.processes.supervisor import Event, Supervisor
from hedgerow.gateway.local.processes.template import Template
from hedgerow.gateway.local.programs import gateway_programs

_START_TIMEOUT_S: Final = 60.0


def check_can_share(settings: GatewaySettings) -> None:
    """Make sure that as many processes as the settings say can share a port.

    Raises:
        ConfigurationError: this system cannot, or the ports of the processes are too many.
    """
    if settings.processes == 1:
        return
    if not sys.platform.startswith("linux"):
        # macOS has the option as well, but gives all connections to one of the sockets.
        raise ConfigurationError(
            f"gateway.processes: {settings.processes} processes can share a port on Linux only; "
            "start one process, or several on ports of their own behind a load balancer"
        )
    if settings.process_port and settings.process_port + settings.processes > 65_536:
        raise ConfigurationError(
            f"gateway.process_port: from {settings.process_port} on, there are not "
            f"{settings.processes} ports"
        )


class GatewayGroup:
    """Starts, watches and stops the processes of one gateway.

    Args:
        settings: those that the processes read too.
        num_shards: shards of the cluster; None to read the number from Redis.
        redis_url: the Redis server that overrides the settings' one; None without.
        on_event: called on the loop for each event of a process.
        template: forks the processes; None to start them by exec.

    Attributes:
        supervisor: keeps the processes running.
    """

    def __init__(
        self,
        settings: Settings,
        num_shards: int | None,
        redis_url: str | None,
        on_event: Callable[[Event], None],
        template: Template | None,
    ) -> None:
        self._settings = settings
        self._num_shards = num_shards
        self._redis_url = redis_url
        self._on_event = on_event
        self._names: list[str] = []
        self.supervisor = Supervisor(None, RestartPolicy(), self._note, _ignore, template)
        self._starting = StartWatch(self.supervisor, None, _START_TIMEOUT_S)

    async def start(self) -> None:
        """Start the processes; returns once each of them has sent a heartbeat.

        Raises:
            ConfigurationError: the port is in use, or the settings cannot be used.
            RedisUnavailableError: there is no server.
            UnavailableError: a process died while starting, or took too long; says which. Call
                `stop` to end the others.
        """
        gateway = self._settings.gateway
        check_can_share(gateway)
        Certificate.of(gateway)  # which the processes read too
        # Without the option that lets several share a port: another gateway's port is in use.
        port = check_port(gateway.host, gateway.port)
        control = await connect(self._settings.redis)
        try:
            keys = await current_keys(control, Keys.of(self._settings.redis))
            await Registry(control, keys).cluster(self._num_shards)
            programs = gateway_programs(
                gateway, gateway.host, port, self._redis_url, {}, self._num_shards
            )
            self._names = [program.name for program in programs]
            await self._starting.or_death(self.supervisor.start(*programs))
            await self._starting.wait_until_there(
                "the gateway processes", lambda: self._missing(control, keys)
            )
        finally:
            await control.close()

    async def stop(self) -> None:
        """Drain all processes at once; returns when none is left."""
        await self.supervisor.close()

    async def _missing(self, control: RedisClient, keys: Keys) -> str:
        live = await GatewayStore(control, keys).live(await control.now_ms())
        here = {one.pid for one in live if one.host == socket.gethostname()}
        return ", ".join(name for name in self._names if self._pid(name) not in here)

    def _pid(self, name: str) -> int | None:
        child = self.supervisor.child(name)
        return child.pid if child is not None else None

    def _note(self, event: Event) -> None:
        self._starting.on_event(event)
        self._on_event(event)


async def _ignore(_name: str) -> None:
    pass
