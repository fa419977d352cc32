"""Keeps a view of what lies in Redis fresh."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from common.errors import RedisUnavailableError

log = structlog.get_logger()


async def keep_fresh(
    view: str, refresh: Callable[[], Awaitable[None]], woken: asyncio.Event, interval_s: float
) -> None:
    """Refresh until cancelled; while Redis is away the last view stands.

    Args:
        view: its name, for the log.
        refresh: reads everything anew; may raise RedisUnavailableError.
        woken: set when a change was announced.
        interval_s: how often to look without an announcement, which may have been lost, in s.
    """
    while True:
        woken.clear()
        try:
            await refresh()
        except RedisUnavailableError as error:
            log.debug("view_stale", view=view, error=str(error))
        try:
            async with asyncio.timeout(interval_s):
                await woken.wait()
        except TimeoutError:
            continue
