"""Sends this worker's heartbeats, which say what it holds: twice a second, and at each change."""

import asyncio
import math
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

# Shortest pause between two heartbeats, in s: it bounds what frequent changes cost the cluster.
SHORTEST_PAUSE_S: Final = 0.25
LOOK_S: Final = 5.0  # between two looks whether another worker has the same id


class HeartbeatSender:
    """Sends heartbeats until cancelled; `leave` then removes the worker's entry.

    Attributes:
        arrived_at: when the last heartbeat that has arrived was composed, by the loop's clock, in
            s; -inf before the first.
    """

    def __init__(
        self,
        registry: Registry,
        compose: Callable[[], Heartbeat],
        interval_s: float,
        longest_silence_s: float = math.inf,
        on_silence: Callable[[], None] = lambda: None,
        on_arrival: Callable[[float], None] = lambda _age_s: None,
    ) -> None:
        """Send heartbeats.

        Args:
            registry: where they go.
            compose: returns the next.
            interval_s: how often, in s.
            longest_silence_s: for how long the last one proves that this worker is live, in s.
            on_silence: called when a heartbeat arrives after a longer silence, before any code can
                take this worker for one that has been live all the time.
            on_arrival: called when a heartbeat has arrived, with the time since it was composed, in
                s.
        """
        self._registry = registry
        self._compose = compose
        self._interval_s = interval_s
        self._longest_silence_s = longest_silence_s
        self._on_silence = on_silence
        self._on_arrival = on_arrival
        self._changed = asyncio.Event()
        self._sent_next = asyncio.Event()  # set when the next heartbeat that begins has been sent
        self._throttle = Throttle(60.0)
        self.arrived_at = -math.inf
        self._composed_at = -math.inf
        self._ended = asyncio.Event()  # set when the current heartbeat, or the next, has ended
        self._arrived: Heartbeat | None = None
        self._sent: Heartbeat | None = None  # may or may not have arrived

    async def run(self) -> None:
        """Send heartbeats until cancelled; while Redis is unavailable, they are skipped."""
        pause_s, now = min(SHORTEST_PAUSE_S, self._interval_s), asyncio.get_running_loop().time
        look_at = now() + LOOK_S
        while True:
            if now() >= look_at:
                look_at = now() + LOOK_S
                await self._look_for_namesake()
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
        """Send a heartbeat as soon as possible, and announce it, since something has changed."""
        self._changed.set()

    async def beat_and_wait(self) -> None:
        """Send a heartbeat of the current state soon; returns when it has been sent."""
        is_sent = self._sent_next
        self.beat_soon()
        await is_sent.wait()

    async def until_arrived(self, since: float) -> None:
        """Return when a heartbeat has arrived that was composed at `since`, in s, or later."""
        while self.arrived_at < since:
            if self._composed_at < since:
                self.beat_soon()
            await self._ended.wait()

    async def beat(self, *, is_changed: bool = False) -> None:
        """Send one heartbeat; if something has changed, announce it to the gateways."""
        try:
            self._composed_at = asyncio.get_running_loop().time()
            self._sent = self._compose()
            await self._registry.beat(self._sent, is_changed=is_changed)
            is_first, silent_s = self._arrived is None, self._composed_at - self.arrived_at
            self._arrived, self.arrived_at = self._sent, self._composed_at
            if silent_s >= self._longest_silence_s and not is_first:
                self._on_silence()
            self._on_arrival(asyncio.get_running_loop().time() - self.arrived_at)
        except RedisUnavailableError as error:
            log.debug("heartbeat_unsent", error=str(error))
        except ConfigurationError as error:
            if self._throttle.allows("refused", time.monotonic()):
                log.error("heartbeat_refused", error=str(error))  # noqa: TRY400 - the message of Redis suffices
        finally:
            ended, self._ended = self._ended, asyncio.Event()
            ended.set()

    async def _look_for_namesake(self) -> None:
        """Say so if another worker that is live sends heartbeats under this one's id."""
        own = self._arrived
        if own is None:
            return
        try:
            found = await self._registry.heartbeat(own.id)
        except (RedisUnavailableError, ConfigurationError) as error:
            log.debug("namesake_unknown", error=str(error))
            return
        # One that has ended, and whose place this worker has taken, sent its last one before.
        if found is None or found.beat_at_ms <= own.started_at_ms:
            return
        if (found.host, found.pid) != (own.host, own.pid) and self._throttle.allows(
            "namesake", time.monotonic()
        ):
            log.error(
                "worker_id_shared",
                worker=own.id,
                host=found.host,
                pid=found.pid,
                hint="another live worker has this id, so that each hides the other's shards; "
                "give each worker an --id of its own",
            )

    async def leave(self, worker: str) -> None:
        """Remove this worker's entry, unless its successor has already written one of its own."""
        own = [beat for beat in (self._arrived, self._sent) if beat is not None]
        try:
            await self._registry.forget_worker(worker, own)
        except (RedisUnavailableError, ConfigurationError) as error:
            log.debug("leave_unsent", error=str(error))
