"""Waiting for what real processes do, bounded in time."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(is_true: Callable[[], bool | Awaitable[bool]], timeout_s: float = 10.0) -> None:
    """Return when `is_true` says so; the test fails with TimeoutError after `timeout_s`.

    Another process gives no event to wait for, so this looks again every 10 ms.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            answer = is_true()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)
