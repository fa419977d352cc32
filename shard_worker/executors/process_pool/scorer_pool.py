"""What a worker asks of the pool that scores for it, whichever pool that is.

There are two: `process_pool.pool`, supervised, which is the default, and `standard_pool.pool`, over
the standard library's `ProcessPoolExecutor` (the setting `worker.process_pool`). Both take the same
tasks, run the same handlers with the same budgets, and end each task exactly once.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from hedgerow.common.errors import LaneUnavailableError
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskHandle, TaskResult


def _nothing() -> None:
    """Follow on nothing."""


class ScorerPool(ABC):
    """Runs a handler over tasks in processes; for use on one event loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_open = False
        self._waiters: list[asyncio.Future[None]] = []  # for room, or for the end of everything
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
        """Stop taking tasks, drain for at most `drain_s`, end every process.

        What has not ended by then ends with a LaneUnavailableError.
        """

    # ---- tasks

    @abstractmethod
    def submit(self, work: Task, on_done: Callable[[TaskResult], None]) -> TaskHandle:
        """Take a task; `on_done` is called exactly once, on the loop, never from within `submit`.

        `TaskResult.error` is an ExpiredError (late, or cancelled), QuarantinedError,
        ScorerCrashedError, RankingError or WorkError (the handler raised), NotStartedError (if it
        is movable), ProfileBusyError (its profile holds all that it may), or LaneUnavailableError
        (not running, or far beyond `room`).
        """

    @abstractmethod
    def cancel(self, ticket: TaskHandle) -> None:
        """Cancel a task, which ends with an ExpiredError.

        One that has not been sent ends at once. One that a process has finds its budget expired.
        """

    @abstractmethod
    def cork(self) -> None:
        """Hold back what is submitted from now on until `uncork`, which is to follow in this turn.

        Who submits several tasks in one callback spares the pool a turn of the loop, which it
        would take to see which tasks came together; it costs as much as sending one of them.
        """

    @abstractmethod
    def uncork(self) -> None:
        """Send to the processes what was held back."""

    def call_after_ends(self, then: Callable[[], None]) -> None:
        """Call `then` after the `on_done` of tasks that have ended together; it replaces another.

        For callers that answer several tasks with one message.
        """
        self._after_ends = then

    async def run(self, work: Task) -> TaskResult:
        """Submit and wait; cancelling the wait cancels the task.

        Raises:
            WorkError: any of those that `submit` names.
        """
        future: asyncio.Future[TaskResult] = asyncio.get_running_loop().create_future()

        def on_done(done: TaskResult) -> None:
            if not future.done():
                future.set_result(done)

        ticket = self.submit(work, on_done)
        try:
            done = await future
        except asyncio.CancelledError:
            self.cancel(ticket)
            raise
        if done.error is not None:
            raise done.error
        return done

    # ---- room

    @abstractmethod
    def room(self) -> int:
        """How many more tasks would start within the batch window.

        Counts the processes that are ready and not stuck in a long batch, at the measured service
        time, less what waits and what they have.
        """

    @abstractmethod
    def ends_soon(self) -> bool:
        """Whether processes have tasks, and all together are expected to take 0.5 ms at most."""

    @abstractmethod
    def observe_elsewhere(self, num_works: int) -> None:
        """Count tasks that were pulled for this pool's room and took nothing of it.

        Without it, requests that run in another lane would be pulled as if each took a process as
        long as the last that did.
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
        """Have whoever waits for room or a change look again."""
        self._on_change()

    @abstractmethod
    def load(self) -> dict[str, Any]:
        """Figures for heartbeat and status; `service_us` is the moving average of one task."""

    # ---- for the pools

    @abstractmethod
    def _num_unfinished(self) -> int:
        """Tasks that have not ended."""

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
        """End, in the next turn of the loop, a task that came to a pool that is not running."""
        error = LaneUnavailableError(f"{self._name}: not running")
        asyncio.get_running_loop().call_soon(self._call_refused, on_done, error)

    def _call_refused(
        self, on_done: Callable[[TaskResult], None], error: LaneUnavailableError
    ) -> None:
        on_done(TaskResult(b"", 0, 0, 0, error))
        self._on_change()

    def _on_change(self) -> None:
        """Tasks have ended, or there is more room."""
        try:
            self._after_ends()
        except Exception as error:  # noqa: BLE001 - its bug must not cost a scorer its channel
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"{self._name}: what follows on ends failed", "exception": error}
            )
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
