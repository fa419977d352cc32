"""What both pools do alike with a task: send it with others, cancel, refuse and end it."""

import asyncio
import time
from collections.abc import Callable

from hedgerow.common.errors import ExpiredEnd, ExpiredError, WorkError
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.executors.process_pool.task import (
    ENDED,
    TaskHandle,
    TaskResult,
    failed,
)


class Submissions:
    """The submitted tasks of one pool; for use on its event loop."""

    def __init__(
        self,
        name: str,
        look_after_s: float,
        gate: QuarantineGate | None,
        *,
        dispatch: Callable[[], None],
        look_by: Callable[[float], None],
        on_change: Callable[[], None],
    ) -> None:
        """Nothing has been submitted.

        Args:
            name: the pool's, shown in errors.
            look_after_s: when a task that runs on after its deadline is looked at, in s.
            gate: learns how tasks ended that had killed a process; None if there is no quarantine.
            dispatch: sends waiting tasks to the processes that are free.
            look_by: has the pool look after its processes no later than an instant of
                `time.monotonic()`.
            on_change: called after tasks have ended.
        """
        self._name = name
        self._look_after_s = look_after_s
        self._gate = gate
        self._dispatch = dispatch
        self._look_by = look_by
        self._on_change = on_change
        self._scheduled: asyncio.Handle | None = None
        self._is_corked = False

    def dispatch_soon(self) -> None:
        """Dispatch in the next turn of the loop, or in `uncork` if the pool is corked.

        Not at once, so that tasks that are submitted in the same turn go in one batch.
        """
        if self._scheduled is None and not self._is_corked:
            self._scheduled = asyncio.get_running_loop().call_soon(self._dispatch_scheduled)

    def cork(self) -> None:
        """See ScorerPool.cork."""
        self._is_corked = True

    def uncork(self) -> None:
        """See ScorerPool.uncork."""
        self._is_corked = False
        self._dispatch()

    def cancel(self, handle: TaskHandle) -> None:
        """See ScorerPool.cancel."""
        if handle.generation == ENDED or handle.is_cancelled:
            return
        handle.is_cancelled = True
        handle.expires_at = min(handle.expires_at, time.monotonic())
        slot = handle.slot
        if slot is None:
            self.refuse(handle, ExpiredError("cancelled", ExpiredEnd.DROPPED))
        else:
            slot.trip(handle)
            slot.check_at = min(slot.check_at, handle.expires_at + self._look_after_s)
            self._look_by(slot.check_at)

    def refuse(self, handle: TaskHandle, error: WorkError) -> None:
        """End a task that no process has, in the next turn of the loop.

        Its `on_done` may submit and cancel, which must not happen inside of `submit` or while a
        batch is being put together.
        """
        handle.generation = ENDED
        asyncio.get_running_loop().call_soon(self._end_refused, handle, failed(handle, error))

    def end(self, handle: TaskHandle, done: TaskResult) -> None:
        """End a task now; its `on_done` is called."""
        handle.generation, handle.slot = ENDED, None
        try:
            handle.on_done(done)
        except Exception as error:  # noqa: BLE001 - one caller's bug must not end the others' tasks
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"{self._name}: on_done failed", "exception": error}
            )
        if handle.num_crashes and self._gate is not None:
            self._gate.tried(handle, time.monotonic())

    def close(self) -> None:
        """Dispatch no more by itself."""
        if self._scheduled is not None:
            self._scheduled.cancel()

    def _dispatch_scheduled(self) -> None:
        self._scheduled = None
        self._dispatch()

    def _end_refused(self, handle: TaskHandle, done: TaskResult) -> None:
        self.end(handle, done)
        self._on_change()
