"""Finds which of several queues have jobs that are due, by one request for all of them.

A library that polls each queue by itself wakes the worker, and the server, once for each: for two
queues a shard, and some more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from hedgerow.common.errors import HedgerowError
from hedgerow.common.runtime.ticks import sleep_to_tick

_log = structlog.get_logger()


class DueQueues:
    """Tells callers when their queues have jobs that are due, while `run` is running."""

    def __init__(self, count: Callable[[Sequence[str]], Awaitable[Sequence[int]]]) -> None:
        """Wait for no queue yet.

        Args:
            count: returns how many jobs of each of some queues are due.
        """
        self._count = count
        self._waiting: list[tuple[str, asyncio.Event]] = []

    async def until_due(self, queue: str) -> None:
        """Return when a job of a queue is due, within one interval of `run`."""
        waiter = queue, asyncio.Event()
        self._waiting.append(waiter)
        try:
            await waiter[1].wait()
        finally:
            self._waiting.remove(waiter)

    async def run(self, interval_s: float) -> None:
        """Look at the queues that are waited for, every `interval_s`, until cancelled."""
        num_failures = 0
        while True:
            await sleep_to_tick(interval_s)
            waiting = list(self._waiting)
            if not waiting:
                continue
            try:
                counts = await self._count([queue for queue, _ in waiting])
            except HedgerowError as error:
                num_failures += 1
                log = _log.warning if num_failures == 1 else _log.debug
                log("jobs_interrupted", error=str(error))
                continue
            num_failures = 0
            for (_, woken), count in zip(waiting, counts, strict=True):
                if count:
                    woken.set()
