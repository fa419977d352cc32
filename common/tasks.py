"""Groups of tasks that end even if a cancellation is lost.

Before Python 3.12, `asyncio.wait_for` may swallow a cancellation that coincides with the end of
what it waits for (https://github.com/python/cpython/issues/86296), and client libraries use it.
`asyncio.TaskGroup` cancels its tasks only once; a task that loops for ever must be cancelled again.
"""

import asyncio
from collections.abc import Coroutine, Hashable, Iterable
from typing import Generic, TypeVar, cast

import structlog

from hedgerow.common.errors import raise_if

log = structlog.get_logger()

AGAIN_S = 1.0

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


async def run_together(*coroutines: Coroutine[None, None, None]) -> None:
    """Run until all have ended, or one has failed, or the caller is cancelled.

    In each case, all of them have ended when this returns.

    Raises:
        BaseException: the error of the first to fail.
    """
    tasks = [asyncio.ensure_future(one) for one in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await end(tasks)
    for task in done:
        task.result()


async def all_of(coroutines: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Run at the same time; return their results, in order, once all have ended.

    Raises:
        Exception: the error of the first, in their order, that has failed.
    """
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    if errors := [one for one in results if isinstance(one, BaseException)]:
        results.clear()  # the error's traceback holds this frame, which must not hold the error
        raise_if(errors.pop(0))
    return cast("list[T]", results)


async def end(tasks: Iterable[asyncio.Task[None]], patience_s: float | None = None) -> None:
    """Cancel tasks, again every second, until they have ended.

    If the caller is cancelled meanwhile, `CancelledError` is raised only once they have ended.

    Args:
        tasks: the tasks to end.
        patience_s: after this time, in s, those that still run are logged and left; None for no
            limit.
    """
    loop = asyncio.get_running_loop()
    give_up_at = None if patience_s is None else loop.time() + patience_s
    cancelled: asyncio.CancelledError | None = None
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        try:
            _, running = await asyncio.wait(running, timeout=AGAIN_S)
        except asyncio.CancelledError as error:
            cancelled = error
            running = {task for task in running if not task.done()}
        if running and give_up_at is not None and loop.time() >= give_up_at:
            log.error("tasks_hang", tasks=sorted(task.get_name() for task in running))
            break
    if cancelled is not None:
        raise cancelled


class KeyedTasks(Generic[K]):
    """Tasks by key, which are started and ended at any time, while `run` owns them."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, key: K, coroutine: Coroutine[None, None, None], name: str) -> None:
        """Start a task; the key must not have one that runs."""
        task = self._tasks[key] = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(self._note)

    async def end(self, key: K) -> None:
        """Cancel the task of a key, if it has one; returns when it has ended."""
        if (task := self._tasks.pop(key, None)) is not None:
            await end([task])

    async def run(self) -> None:
        """Wait until cancelled, or until a task fails; then all of them have ended.

        Raises:
            BaseException: the error of the first task to fail.
        """
        try:
            await self._failed
        finally:
            tasks = list(self._tasks.values())
            self._tasks.clear()
            await end(tasks)

    def _note(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None or self._failed.done():
            return
        self._failed.set_exception(error)
