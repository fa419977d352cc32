"""Tells the cluster, twice a second, that this worker lives and what it holds."""

import asyncio
import time
from collections.abc import Callable

import structlog

from common.errors import ConfigurationError, RedisUnavailableError
from common.heartbeat import Heartbeat
from common.registry import Registry
from common.telemetry import Throttle

log = structlog.get_logger()


class VitalSigns:
    """Sends heartbeats until told to stop, then takes the worker's entry back."""

    def __init__(
        self, registry: Registry, compose: Callable[[], Heartbeat], interval_s: float
    ) -> None:
        """Send what `compose` returns every `interval_s`, in s."""
        self._registry = registry
        self._compose = compose
        self._interval_s = interval_s
        self._throttle = Throttle(60.0)
        self._arrived: Heartbeat | None = None
        self._sent: Heartbeat | None = None  # perhaps it has arrived

    async def run(self) -> None:
        """Beat until cancelled; while Redis is away there is nobody to tell."""
        while True:
            await self.beat()
            await asyncio.sleep(self._interval_s)

    async def beat(self) -> None:
        """Beat once."""
        try:
            self._sent = self._compose()
            await self._registry.beat(self._sent)
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
