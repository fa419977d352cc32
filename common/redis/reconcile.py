"""Runs a step repeatedly that compares a wanted state with the actual one."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from hedgerow.common.errors import HedgerowError
from hedgerow.common.redis.client import RedisClient, pause_s
from hedgerow.common.redis.shared_events import RECONNECTED
from hedgerow.common.runtime.ticks import tick_after

TICK_S = 1.0

_log = structlog.get_logger()


async def wake_at(control: RedisClient, channel: str, event: str, woken: asyncio.Event) -> None:
    """Set `woken` at each `event` on a channel and after a reconnect, until cancelled."""
    async for received in control.events(channel):
        if received in (event.encode(), RECONNECTED):
            woken.set()


async def reconcile(
    event: str, step: Callable[[], Awaitable[None]], woken: asyncio.Event, max_pause_s: float
) -> None:
    """Call `step` every second, and at once when woken, until cancelled.

    Args:
        event: the event to log when `step` fails; the next calls then wait for longer.
        step: finds what has to be done, and does it.
        woken: set when something has changed.
        max_pause_s: longest wait after a failure, in s.
    """
    failures = 0
    while True:
        woken.clear()
        try:
            await step()
            failures = 0
        except HedgerowError as error:
            failures += 1
            log = _log.warning if failures == 1 else _log.debug
            log(event, error=str(error))
            await asyncio.sleep(pause_s(failures, max_pause_s))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(tick_after(TICK_S)):
                await woken.wait()
