"""For how long a task may run on after its deadline before its process is killed.

A process that gets no core, since other programs keep the machine busy, ends its task late without
being at fault. Killing it, and blaming its query, would quarantine harmless queries, and cost a
busy machine its scorers when it needs them most. So only time in which the task could run counts;
time that its process spent waiting for a core does not. Where the system does not report such
waits, all time counts.
"""

from collections.abc import Callable
from typing import Final, Protocol

from hedgerow.shard_worker.executors.process_pool.core_use import CoreUse, core_use
from hedgerow.shard_worker.executors.process_pool.task import TaskHandle

# When a task that runs on is first looked at: most have ended by then, and cost no look.
_LOOK_AFTER_S: Final = 0.005


class Overrun:
    """A task that runs on after its deadline.

    Attributes:
        task: the task.
    """

    def __init__(self, task: TaskHandle, now: float, use: CoreUse | None) -> None:
        """Begin when it is first seen, with what its process has had of the cores by then."""
        self.task = task
        self._seen_at = now
        self._use = use

    def ran_s(self, now: float, use: CoreUse | None) -> float:
        """For how long it has run on since it was first seen, as far as it could run.

        Args:
            now: the time.
            use: what its process has had of the cores by now; None if the system does not say so.
        """
        passed_s = now - self._seen_at
        if use is None or self._use is None:
            return passed_s
        if use.wants_core:
            # For how long it has waited since it last had a core is known only once it has one
            # again. Several threads can use more CPU time than has passed.
            return min(passed_s, use.cpu_s - self._use.cpu_s)
        return passed_s - (use.waited_s - self._use.waited_s)


class Runner(Protocol):
    """A process that runs a task.

    Attributes:
        overrun: of the task that it was last seen to run on with; None if there was none.
    """

    overrun: Overrun | None

    @property
    def pid(self) -> int:
        """Of the process; 0 while unknown."""


class Patience:
    """Decides how long a task may go on.

    Attributes:
        grace_s: for how long a task may run on after its deadline, in s.
        look_after_s: when one that does is first looked at, in s after its deadline.
    """

    def __init__(self, grace_s: float, look: Callable[[int], CoreUse | None] = core_use) -> None:
        """Let each task run on for `grace_s`; `look` says what a process has had of the cores."""
        self._look = look
        self.grace_s = grace_s
        self.look_after_s = min(_LOOK_AFTER_S, grace_s)

    def left_s(self, runner: Runner, task: TaskHandle, now: float) -> float:
        """For how long the task that a process runs may go on until it is looked at again, in s.

        If the first look comes late, since this process got no core either, the grace begins then.

        Returns:
            0 or less: the process is to be killed.
        """
        look_at = task.expires_at + self.look_after_s
        if now < look_at:
            return look_at - now
        use = self._look(runner.pid)
        if runner.overrun is None or runner.overrun.task is not task:
            runner.overrun = Overrun(task, now, use)
        return self.grace_s - self.look_after_s - runner.overrun.ran_s(now, use)
