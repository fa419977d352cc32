"""Does again and again what is to be done, in spite of a Redis that comes and goes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from hedgerow.common.errors import HedgerowError
from hedgerow.common.redis.client import RECONNECTED, RedisClient, pause_s
from hedgerow.common.runtime.ticks import tick_after

TICK_S = 1.0

_log = structlog.get_logger()


async def wake_at(control: RedisClient, channel: str, event: str, woken: asyncio.Event) -> None:
    """Wake who keeps looking, until cancelled: at each `event` on a channel, and after a gap."""
    async for told in control.events(channel):
        if told in (event.encode(), RECONNECTED):
            woken.set()


async def keep_looking(
    event: str, look: Callable[[], Awaitable[None]], woken: asyncio.Event, max_pause_s: float
) -> None:
    """Look until cancelled: each second, and at once when woken.

    Args:
        event: what is logged when a look fails; the next ones then wait for longer.
        look: does what it finds to do.
        woken: set when something has changed.
        max_pause_s: longest wait after a failure, in s.
    """
    failures = 0
    while True:
        woken.clear()
        try:
            await look()
            failures = 0
        except HedgerowError as error:
            failures += 1
            tell = _log.warning if failures == 1 else _log.debug
            tell(event, error=str(error))
            await asyncio.sleep(pause_s(failures, max_pause_s))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(tick_after(TICK_S)):
                await woken.wait()
