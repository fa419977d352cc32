"""Waiting for a state of the cluster, which gives other processes no event."""

import asyncio
from collections.abc import Awaitable, Callable


async def comes_true(
    holds: Callable[[], Awaitable[bool]], within_s: float, pause_s: float = 0.1
) -> bool:
    """Ask `holds` at once and every `pause_s` until it is true; whether that was within the time.

    It is asked at least once, and what it returns counts however long it takes.
    """
    ends_at = asyncio.get_running_loop().time() + within_s
    while not await holds():
        if asyncio.get_running_loop().time() >= ends_at:
            return False
        await asyncio.sleep(pause_s)
    return True
