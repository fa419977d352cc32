"""Keeps a copy of data in Redis fresh."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.runtime.ticks import tick_after

log = structlog.get_logger()


async def keep_fresh(
    view: str, refresh: Callable[[], Awaitable[None]], woken: asyncio.Event, interval_s: float
) -> None:
    """Refresh until cancelled; while refreshing fails for any reason, the last view stays.

    Args:
        view: the view's name, for the log.
        refresh: reads the whole view again.
        woken: set when a change was announced.
        interval_s: time between two refreshes without an announcement, which may be lost, in s.
    """
    throttle, now = Throttle(60.0), asyncio.get_running_loop().time
    while True:
        woken.clear()
        try:
            await refresh()
        except RedisUnavailableError as error:
            log.debug("view_stale", view=view, error=str(error))
        except ConfigurationError as error:
            if throttle.allows("refused", now()):
                log.error("view_refused", view=view, error=str(error))  # noqa: TRY400 - a traceback would add nothing
        except Exception:  # invalid data in Redis must not end a gateway
            if throttle.allows("failed", now()):
                log.exception("view_failed", view=view)
        try:
            async with asyncio.timeout_at(tick_after(interval_s)):
                await woken.wait()
        except TimeoutError:
            continue
