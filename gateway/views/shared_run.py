"""Shares one run of a task among all callers that want its result at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedRun(Generic[T]):
    """Runs `work` at most once at a time.

    A caller gets the result of a run that began after the call, so the result reflects
    everything that had happened by then. Callers that come during a run share the next one: however
    many callers there are, at most one run is in progress and one is due.
    """

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        """Share runs of `work`, which takes no arguments."""
        self._work = work
        self._begun: asyncio.Task[T] | None = None
        self._due: asyncio.Task[T] | None = None

    async def result(self) -> T:
        """The result of a run that begins after this call, or the error that it raises.

        A caller that is cancelled does not cancel the run, which others may wait for.
        """
        if self._due is None:
            run = self._run(self._begun)
            self._due = asyncio.get_running_loop().create_task(run, name="shared run")
            self._due.add_done_callback(_retrieve)
        due = self._due
        # Not by shield(): it reports the error of a run whose caller has left, from Python 3.14 on.
        await asyncio.wait([due])
        return due.result()

    async def _run(self, before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait({before})
        self._begun, self._due = self._due, None
        return await self._work()


def _retrieve(run: asyncio.Task[T]) -> None:
    """Take note of an error, which asyncio would report if all callers have left."""
    if not run.cancelled():
        run.exception()
