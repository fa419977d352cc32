"""Shares one run of a piece of work between concurrent callers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedRun(Generic[T]):
    """Runs `work` at most once at a time.

    A caller gets the result of a run that began after the call, so that it reflects everything that
    had happened by then. Callers during a run share the next one: at any time, there is at most one
    run in progress and one due.
    """

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        """Share runs of `work`, which takes no arguments."""
        self._work = work
        self._begun: asyncio.Task[T] | None = None
        self._due: asyncio.Task[T] | None = None

    async def result(self) -> T:
        """Return the result of a run that begins after this call, or raise its error.

        Cancelling a caller does not cancel the run, since others may wait for it.
        """
        if self._due is None:
            run = self._run(self._begun)
            self._due = asyncio.get_running_loop().create_task(run, name="shared run")
        return await asyncio.shield(self._due)

    async def _run(self, before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait({before})
        self._begun, self._due = self._due, None
        return await self._work()
