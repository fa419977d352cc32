"""The tasks that one process of the standard pool has, and their budgets."""

from collections.abc import Sequence
from typing import Any

from hedgerow.common.errors import ExpiredEnd, ExpiredError
from hedgerow.shard_worker.executors.process_pool.budget import Region
from hedgerow.shard_worker.executors.process_pool.overrun import Overrun
from hedgerow.shard_worker.executors.process_pool.task import TaskHandle, TaskResult


class Batch:
    """A running call of the executor; the `Holder` of its tasks.

    Attributes:
        handles: in the order in which they run.
        profile: the profile of the tasks.
        sent_at: when they were given to the executor, in s.
        check_at: when the pool looks at it next, in s.
        is_hung: whether its running task has ignored its budget beyond the grace period.
        overrun: of the task that was last seen to run on after its deadline.
    """

    def __init__(
        self, region: Region, handles: Sequence[TaskHandle], first_generation: int, now: float
    ) -> None:
        """Write the tasks' deadlines to the shared memory."""
        self.handles = handles
        self.profile = handles[0].task.profile
        self.sent_at = now
        self.check_at = min(handle.expires_at for handle in handles)
        self.is_hung = False
        self.overrun: Overrun | None = None
        self._region = region
        self._first_generation = first_generation
        for index, handle in enumerate(handles):
            region.expiries[index] = handle.expires_at
            region.lates[index] = handle.task.late_s
            region.generations[index] = handle.generation = first_generation + index
            handle.slot = self

    @property
    def pid(self) -> int:
        """The process that runs it; of no meaning before one does."""
        return self._region.pid[0]

    @property
    def payloads(self) -> list[Any]:
        """What the handler gets."""
        return [handle.task.payload for handle in self.handles]

    def trip(self, handle: TaskHandle) -> None:
        """Make the budget of one of its tasks expire now."""
        self._region.expiries[handle.generation - self._first_generation] = 0.0

    def running(self) -> TaskHandle | None:
        """The task that its process runs now."""
        index = self._region.current[0] - self._first_generation
        return self.handles[index] if 0 <= index < len(self.handles) else None

    def open_handles(self) -> list[TaskHandle]:
        """Those that have not ended."""
        return [handle for handle in self.handles if handle.slot is self]

    def cut_off(self, handle: TaskHandle, now: float) -> TaskResult:
        """The result of a task that runs on; its CPU time is unknown, so all of its time counts."""
        began_at = self._region.began[0]
        lane_us, work_us = _us(began_at - handle.submitted_at), _us(now - began_at)
        error = ExpiredError("ran on past its deadline", ExpiredEnd.KILLED)
        return TaskResult(b"", lane_us, work_us, work_us, error)


def _us(seconds: float) -> int:
    return int(seconds * 1e6)
