"""Tells the cluster that this worker lives and what it holds: twice a second, and on a change."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.runtime.ticks import tick_after
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat

log = structlog.get_logger()

# Between any two heartbeats: what changes back and forth costs Redis and the gateways so much.
SHORTEST_PAUSE_S: Final = 0.25


class HeartbeatSender:
    """Sends heartbeats until told to stop, then takes the worker's entry back."""

    def __init__(
        self, registry: Registry, compose: Callable[[], Heartbeat], interval_s: float
    ) -> None:
        """Send what `compose` returns every `interval_s`, in s."""
        self._registry = registry
        self._compose = compose
        self._interval_s = interval_s
        self._changed = asyncio.Event()
        self._sent_next = asyncio.Event()  # set when the next beat to begin has been sent
        self._throttle = Throttle(60.0)
        self._arrived: Heartbeat | None = None
        self._sent: Heartbeat | None = None  # perhaps it has arrived

    async def run(self) -> None:
        """Beat until cancelled; while Redis is away, heartbeats are skipped."""
        pause_s, now = min(SHORTEST_PAUSE_S, self._interval_s), asyncio.get_running_loop().time
        while True:
            is_changed = self._changed.is_set()
            self._changed.clear()
            is_sent, self._sent_next = self._sent_next, asyncio.Event()
            await self.beat(is_changed=is_changed)
            is_sent.set()
            soonest, latest = now() + pause_s, now() + self._interval_s
            due = tick_after(self._interval_s)
            if due > latest:  # after a change
                due -= self._interval_s
            with suppress(TimeoutError):
                async with asyncio.timeout_at(max(due, soonest)):
                    await self._changed.wait()
            if (early_s := soonest - now()) > 0:
                await asyncio.sleep(early_s)

    def beat_soon(self) -> None:
        """Others should hear of a change now: beat, and have gateways look, as soon as may be."""
        self._changed.set()

    async def tell(self) -> None:
        """Beat soon, and return when that beat, which tells of what is now, has been sent."""
        is_sent = self._sent_next
        self.beat_soon()
        await is_sent.wait()

    async def beat(self, *, is_changed: bool = False) -> None:
        """Beat once; with a change it is announced."""
        try:
            self._sent = self._compose()
            await self._registry.beat(self._sent, is_changed=is_changed)
            self._arrived = self._sent
        except RedisUnavailableError as error:
            log.debug("heartbeat_unsent", error=str(error))
        except ConfigurationError as error:
            if self._throttle.allows("refused", time.monotonic()):
                log.error("heartbeat_refused", error=str(error))  # noqa: TRY400 - Redis says it all

    async def leave(self, worker: str) -> None:
        """Say that this worker will take no more requests; its successor's word stands."""
        own = [beat for beat in (self._arrived, self._sent) if beat is not None]
        try:
            await self._registry.forget_worker(worker, own)
        except (RedisUnavailableError, ConfigurationError) as error:
            log.debug("leave_unsent", error=str(error))
