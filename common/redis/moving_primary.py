"""What primaries that move have in common: who follows them, and when they have moved."""

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from hedgerow.common.redis.endpoint import Endpoint

# How long writes wait after a failover. Workers that have applied more than the new primary has
# restore the end of its logs in that time: they learn of the failover when the gateways do.
SETTLE_S: Final = 0.5


class MovingPrimary:
    """The part of a `Primary` that is about moves; the rest depends on who announces them.

    Attributes:
        version: see `Primary.version`.
        failovers: see `Primary.failovers`.
        reconnect_max_s: see `Primary.reconnect_max_s`.
    """

    moves: Final = True

    def __init__(self, servers: Endpoint) -> None:
        """Know how to connect to any of the servers."""
        self.version = 0
        self.failovers = 0
        self.reconnect_max_s = servers.reconnect_max_s
        self._servers = servers
        self._followers: dict[object, Callable[[], None]] = {}
        self._moved = asyncio.Event()
        self._moved_at = -math.inf

    def at(self, host: str, port: int) -> Endpoint:
        """See `Primary.at`."""
        return self._servers.at(host, port)

    def follow(self, on_moved: Callable[[], None]) -> Callable[[], None]:
        """See `Primary.follow`."""
        key = object()
        self._followers[key] = on_moved
        return lambda: self._followers.pop(key, None) and None

    async def pause(self, duration_s: float) -> None:
        """See `Primary.pause`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(duration_s):
                await self._moved.wait()

    async def settled(self) -> None:
        """See `Primary.settled`."""
        rest_s = self._moved_at + SETTLE_S - asyncio.get_running_loop().time()
        if rest_s > 0:
            await asyncio.sleep(rest_s)
            await self.settled()  # it may have moved again

    def _has_failed_over(self) -> None:
        """Another server has taken over, so that writes wait for the logs to be restored."""
        self.failovers += 1
        self._moved_at = asyncio.get_running_loop().time()
        self._leave()

    def _leave(self) -> None:
        """Have all connections leave."""
        self.version += 1
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        for on_moved in list(self._followers.values()):
            on_moved()
