"""A gateway's heartbeat, by which the status of any gateway tells of all of them."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from hedgerow.common import __version__
from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.state.gateways import BEAT_S, GatewayHeartbeat, GatewayStore
from hedgerow.gateway.views.freshness import keep_fresh

_FORGET_TIMEOUT_S: Final = 1.0  # of a server that does not answer, at the gateway's end


@dataclass(frozen=True, slots=True)
class ProcessPlace:
    """Which of the processes that share a port a gateway is.

    Attributes:
        number: from 0.
        of: how many there are.
        port: the port at which it alone can be reached; 0 for none.
    """

    number: int = 0
    of: int = 1
    port: int = 0


@dataclass(slots=True)
class Presence:
    """Sends the heartbeat of one gateway.

    Attributes:
        gateway_id: changes at each start.
        place: which of several processes the gateway is.
        store: takes the heartbeats.
        num_in_flight: returns how many searches are in flight.
        server_ms: the Redis server's clock.
        is_leaving: whether the gateway is about to stop.
        layout: the layout that it searches.
        leaving_layouts: other layouts in which it still has searches.
    """

    gateway_id: str
    place: ProcessPlace
    store: GatewayStore
    num_in_flight: Callable[[], int]
    server_ms: Callable[[], int]
    is_leaving: bool = False
    layout: int = 0
    leaving_layouts: list[int] = field(default_factory=list)
    _started_at_ms: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Send heartbeats until cancelled; then have the others forget this gateway."""
        self._started_at_ms = self.server_ms()
        try:
            await keep_fresh("gateway heartbeat", self.beat, self._changed, BEAT_S)
        finally:
            # A shutdown does not depend on it: the heartbeat expires by itself.
            with suppress(RedisUnavailableError, ConfigurationError, TimeoutError):
                async with asyncio.timeout(_FORGET_TIMEOUT_S):
                    await self.store.forget([self.gateway_id])

    def leave(self) -> None:
        """The gateway is about to stop: say so at once."""
        self.is_leaving = True
        self._changed.set()

    def beat_soon(self) -> None:
        """What the heartbeat reports has changed: send it at once."""
        self._changed.set()

    async def beat(self) -> None:
        """Send one heartbeat.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        await self.store.beat(
            GatewayHeartbeat(
                id=self.gateway_id,
                pid=os.getpid(),
                host=socket.gethostname(),
                version=__version__,
                beat_at_ms=self.server_ms(),
                started_at_ms=self._started_at_ms,
                in_flight=self.num_in_flight(),
                process=self.place.number,
                processes=self.place.of,
                process_port=self.place.port,
                is_leaving=self.is_leaving,
                layout=self.layout,
                leaving_layouts=self.leaving_layouts,
                splits_servers=True,
            )
        )
