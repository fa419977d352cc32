"""What is left to the garbage collector."""

import asyncio
import gc
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any


async def left_by_its_caller(call: Coroutine[Any, Any, object], after_s: float) -> None:
    """Run a call, and cancel it after a while, as when its caller leaves."""
    task = asyncio.create_task(call)
    await asyncio.sleep(after_s)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@contextmanager
def left_to_collector() -> Iterator[list[object]]:
    """Yield a list, in which are, after the block, the objects that only the collector can free.

    What there is before it, all collected tests among it, stays out of collections from then on:
    unfrozen, it would cost each later one a third of a second.
    """
    found: list[object] = []
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
