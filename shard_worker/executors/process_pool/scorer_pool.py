"""The interface of the process pools that score for a worker.

There are two: `process_pool.pool`, supervised, which is the default, and `standard_pool.pool`, over
the standard library's `ProcessPoolExecutor` (the setting `worker.process_pool`). Both take the same
tasks, run the same handlers with the same budgets, and end each task exactly once.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from hedgerow.common.errors import LaneUnavailableError
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskHandle, TaskResult


def _nothing() -> None:
    """Do nothing."""


class ScorerPool(ABC):
    """Runs a handler over tasks in processes; for use on one event loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_open = False
        self._waiters: list[asyncio.Future[None]] = []  # for room, or for the end of all tasks
        self._after_ends: Callable[[], None] = _nothing

    # ---- life

    @abstractmethod
    async def start(self) -> None:
        """Start the processes; returns when all are ready.

        Raises:
            ConfigurationError: the factory failed, with its error.
        """

    @abstractmethod
    async def close(self, drain_s: float) -> None:
        """Stop taking tasks, drain for at most `drain_s`, and end every process.

        Tasks that have not ended by then end with a LaneUnavailableError.
        """

    # ---- tasks

    @abstractmethod
    def submit(self, task: Task, on_done: Callable[[TaskResult], None]) -> TaskHandle:
        """Take a task; `on_done` is called exactly once, on the loop, never from within `submit`.

        `TaskResult.error` is an ExpiredError (late, or cancelled), QuarantinedError,
        ScorerCrashedError, RankingError or WorkError (the handler raised), NotStartedError (if it
        is movable), ProfileBusyError (its profile has all the processes that it may have), or
        LaneUnavailableError (the pool is not running, or far more tasks wait than `room`).
        """

    @abstractmethod
    def submit_to_each(self, task: Task, on_done: Callable[[TaskResult], None]) -> list[TaskHandle]:
        """Take a task as often as there are processes, so that each may run it.

        Those that are busy may leave it to others that are free before them.
        """

    @abstractmethod
    def cancel(self, handle: TaskHandle) -> None:
        """Cancel a task, which ends with an ExpiredError.

        If no process has it, it ends at once; otherwise its budget expires now.
        """

    @abstractmethod
    def cork(self) -> None:
        """Hold back tasks until `uncork`, which must follow in this turn of the loop.

        A caller that submits several tasks in one callback thereby saves the pool a turn of the
        loop, in which it would collect them; that costs as much as sending one of them.
        """

    @abstractmethod
    def uncork(self) -> None:
        """Send the tasks that were held back."""

    def call_after_ends(self, then: Callable[[], None]) -> None:
        """Call `then` after the `on_done` of tasks that have ended together.

        For callers that answer several tasks with one message. There is one such callback; another
        call replaces it.
        """
        self._after_ends = then

    async def run(self, task: Task) -> TaskResult:
        """Submit a task and wait for it; if the wait is cancelled, so is the task.

        Raises:
            WorkError: one of the errors that `submit` names.
        """
        (done,) = await self._ends(lambda on_done: [self.submit(task, on_done)])
        try:
            if done.error is not None:
                raise done.error
            return done
        finally:
            del done  # the error's traceback holds this frame: a cycle with the task in it

    async def run_in_each(self, task: Task) -> list[TaskResult]:
        """Submit a task to each process (`submit_to_each`), and wait until all have ended."""
        return await self._ends(partial(self.submit_to_each, task))

    async def _ends(
        self, submit: Callable[[Callable[[TaskResult], None]], list[TaskHandle]]
    ) -> list[TaskResult]:
        """Wait until all that is submitted has ended, or cancel it."""
        handles: list[TaskHandle] = []
        results: list[TaskResult] = []
        all_ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_done(done: TaskResult) -> None:
            results.append(done)
            if len(results) == len(handles) and not all_ended.done():
                all_ended.set_result(None)

        handles += submit(on_done)
        try:
            await all_ended
        except asyncio.CancelledError:
            for handle in handles:
                self.cancel(handle)
            raise
        finally:
            # Handles hold `on_done`, which holds them: a cycle, which would keep a task's payload,
            # maybe megabytes of documents, until the garbage collector runs: hardly ever.
            handles.clear()
        return results

    # ---- room

    @abstractmethod
    def room(self) -> int:
        """How many more tasks would start within the batch window.

        That is as many as the processes that are ready, and not busy with a long batch, run in this
        time by the measured service time, less the tasks that wait or that they have.
        """

    @abstractmethod
    def ends_soon(self) -> bool:
        """Whether processes have tasks, which together are expected to take 0.5 ms at most."""

    @abstractmethod
    def observe_elsewhere(self, num_tasks: int) -> None:
        """Count requests that were pulled for this pool's room, but ran elsewhere.

        They count as tasks that took no time. Otherwise so few of them would be pulled as if each
        kept a process busy.
        """

    async def wait_for_room(self) -> int:
        """Wait until there is room; returns it.

        Raises:
            LaneUnavailableError: the pool is not running, or closes meanwhile.
        """
        while (room := self.room()) == 0:
            if not self._is_open:
                raise LaneUnavailableError(f"{self._name}: not running")
            await self._change()
        return room

    @property
    def is_open(self) -> bool:
        """Whether it takes tasks."""
        return self._is_open

    async def wait_for_change(self) -> None:
        """Wait until tasks have ended or there may be more room, or until `wake`."""
        await self._change()

    def wake(self) -> None:
        """Wake the callers that wait for room or for a change."""
        self._on_change()

    @abstractmethod
    def load(self) -> dict[str, Any]:
        """Figures for heartbeat and status; `service_us` is the moving average of one task."""

    # ---- for the pools

    @abstractmethod
    def _num_unfinished(self) -> int:
        """How many tasks have not ended."""

    async def _drain(self, drain_s: float) -> None:
        """Wait until every task has ended, for at most `drain_s`."""
        deadline = time.monotonic() + drain_s
        while self._num_unfinished() and (left_s := deadline - time.monotonic()) > 0:
            await asyncio.wait([self._change()], timeout=left_s)

    def _change(self) -> asyncio.Future[None]:
        """A future that is done at the next `_on_change`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def _refuse_closed(self, on_done: Callable[[TaskResult], None]) -> None:
        """End a task, in the next turn of the loop, because the pool is not running."""
        error = LaneUnavailableError(f"{self._name}: not running")
        asyncio.get_running_loop().call_soon(self._call_refused, on_done, error)

    def _call_refused(
        self, on_done: Callable[[TaskResult], None], error: LaneUnavailableError
    ) -> None:
        on_done(TaskResult(b"", 0, 0, 0, error))
        self._on_change()

    def _on_change(self) -> None:
        """Call what waits for the end of tasks, or for room."""
        try:
            self._after_ends()
        except Exception as error:  # noqa: BLE001 - its bug must not close a scorer's channel
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"{self._name}: what follows on ends failed", "exception": error}
            )
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
