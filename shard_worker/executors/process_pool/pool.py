"""The process lane: CPU work in scorer processes, one task at a time in each.

    submit ► waiting ► a free scorer gets what it will start soon, in one frame ► results ► on_done

A scorer is a slot with one process of its own, so a process that dies affects only the task that it
ran. The worker and the process talk over a socket with MessagePack frames, watched by the event
loop: without a queue, a thread or an asyncio task for each task. docs/decisions/process-pool.md
compares this with `ProcessPoolExecutor`, which cannot say which task killed a process, take back
tasks that have not started, or stop a single task.

What happens to a task:

- *it has expired or is in quarantine at its turn*: it is answered here and never sent;
- *a batch before it runs long*: it is taken back and given to another scorer; if all scorers are
  held up, it ends with a NotStartedError if another worker may run it (`Task.is_movable`);
- *it ignores its budget for* `kill_grace_ms` *after its deadline*: its scorer is killed, and it
  counts as expired and, in the quarantine, as a kill; tasks behind it go to other scorers; time for
  which its scorer waits for a core does not count;
- *its scorer dies while running it*: it is tried once more, alone in its frame, and then fails;
- *an equal task kills a scorer, here or in another worker*: it is stopped and held until the second
  try of that one has ended; then it is refused, or started again;
- *its scorer dies before its turn*: it is moved, which does not count as a try;
- *its scorer has grown too large*: nothing; the scorer is replaced between two batches;
- *other tasks of its rank profile have all the scorers that the profile may hold*: it waits for its
  profile's turn while other profiles' tasks run; beside those it is refused (ProfileBusyError) if
  its turn would come too late (`bulkhead`).
"""

import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from hedgerow.common.errors import LaneUnavailableError
from hedgerow.shard_worker.executors.bulkhead import Bulkhead
from hedgerow.shard_worker.executors.process_pool.dispatcher import Dispatcher
from hedgerow.shard_worker.executors.process_pool.forkserver_start import Start, start_interpreter
from hedgerow.shard_worker.executors.process_pool.limits import DispatchLimits
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.executors.process_pool.recycler import MemoryLimit
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.executors.process_pool.scorer_process import ScorerSpec
from hedgerow.shard_worker.executors.process_pool.scorer_slot import SlotState
from hedgerow.shard_worker.executors.process_pool.supervisor import Supervisor
from hedgerow.shard_worker.executors.process_pool.task import (
    ENDED,
    Identity,
    Named,
    Task,
    TaskHandle,
    TaskResult,
)

__all__ = ["Identity", "Named", "ProcessLane", "Task", "TaskHandle", "TaskResult"]


class ProcessLane(ScorerPool):
    """The supervised pool: `factory(config)`'s handler over tasks, in `num_processes` scorers."""

    def __init__(
        self,
        *,
        factory: str,
        config: object,
        num_processes: int,
        max_batch: int,
        batch_window_ms: float,
        kill_grace_ms: float,
        gate: QuarantineGate | None,
        name: str,
        import_path: Sequence[str] = (),
        prepare: Callable[[], None] | None = None,
        nice: int = 0,
        when_idle: Callable[[], None] | None = None,
        memory_limit: MemoryLimit | None = None,
        bulkhead: Bulkhead | None = None,
        start_forkserver: Start = start_interpreter,
    ) -> None:
        """Describe a lane; `start` starts it.

        Args:
            factory: "module:callable", called once in each process; returns
                `handler(payload: bytes, budget: Budget) -> bytes`. Its module is imported in a
                process that forks, so importing it must start no thread.
            config: the factory's argument, picklable.
            num_processes: scorer processes.
            max_batch: most tasks in one frame.
            batch_window_ms: a frame has as many tasks as start within this time.
            kill_grace_ms: how long a task may run past its deadline before its scorer is killed.
            gate: refuses tasks that have killed scorers, of this lane or others; None for no
                quarantine.
            name: shown in logs and as the processes' name.
            import_path: folders that the scorers put first on `sys.path`.
            prepare: called first in each process, to configure logging for example; picklable.
            nice: by how much the scorers are nicer than this process.
            when_idle: called in a process after tasks, once no other has come for 2 s, and every
                30 s while others come, to return memory for example; picklable.
            memory_limit: a scorer that has grown beyond it is replaced; None for no limit.
            bulkhead: which profile may hold how many of the scorers; None for any.
            start_forkserver: starts the process that forks the scorers.
        """
        super().__init__(name)
        self._bulkhead = Bulkhead(num_processes, 1.0, {}) if bulkhead is None else bulkhead
        self._num_processes = num_processes
        self._limits = DispatchLimits.of(num_processes, max_batch, batch_window_ms, kill_grace_ms)
        self._gate = gate
        self._supervisor = Supervisor(
            ScorerSpec(
                name,
                factory,
                pickle.dumps(config),
                tuple(import_path),
                prepare=prepare,
                nice=nice,
                when_idle=when_idle,
            ),
            num_processes,
            max_batch,
            memory_limit,
            start_forkserver,
        )
        self._dispatcher: Dispatcher | None = None

    # ---- life

    async def start(self) -> None:
        """See ScorerPool.start."""
        recycler = self._supervisor.recycler
        self._dispatcher = Dispatcher(
            self._name,
            self._limits,
            self._bulkhead,
            self._gate,
            self._supervisor.kill,
            None if recycler is None else recycler.on_free,
            self._on_change,
        )
        self._dispatcher.slots = self._supervisor.slots
        self._is_open = True
        try:
            await self._supervisor.start(self._dispatcher)
        except BaseException:
            await self.close(0.0)
            raise

    async def close(self, drain_s: float) -> None:
        """Stop taking tasks, drain, and end every process; returns when all have ended.

        Intake stops first, so that no task is added to those in flight; these are waited for, for
        at most `drain_s`. Those that are left end with a LaneUnavailableError before their scorers
        are killed. Idle scorers end by themselves when their channel closes, and the forkserver
        ends after them. The shared memory is unmapped last, when no process can read it any more.
        """
        if self._dispatcher is None:
            return
        self._is_open = False
        self._on_change()
        await self._drain(drain_s)
        self._dispatcher.close(LaneUnavailableError(f"{self._name}: shut down before its end"))
        await self._supervisor.close()
        self._dispatcher = None

    # ---- tasks

    def submit(self, task: Task, on_done: Callable[[TaskResult], None]) -> TaskHandle:
        """See ScorerPool.submit."""
        handle = TaskHandle(task, on_done, time.monotonic(), task.expires_at)
        dispatcher = self._dispatcher
        if dispatcher is not None and self._is_open:
            dispatcher.put(handle)
        else:
            handle.generation = ENDED
            self._refuse_closed(on_done)
        return handle

    def submit_to_each(self, task: Task, on_done: Callable[[TaskResult], None]) -> list[TaskHandle]:
        """See ScorerPool.submit_to_each; each scorer that is free runs it."""
        handles = []
        if self._dispatcher is not None and self._is_open:
            handles = self._dispatcher.put_in_free(replace(task, stays=True), on_done)
        num_busy = self._num_processes - len(handles)
        return handles + [self.submit(task, on_done) for _ in range(num_busy)]

    def cork(self) -> None:
        """See ScorerPool.cork."""
        if self._dispatcher is not None:
            self._dispatcher.submissions.cork()

    def uncork(self) -> None:
        """See ScorerPool.uncork."""
        if self._dispatcher is not None:
            self._dispatcher.submissions.uncork()

    def cancel(self, handle: TaskHandle) -> None:
        """See ScorerPool.cancel; what runs on for the grace period is killed with its scorer."""
        if self._dispatcher is not None:
            self._dispatcher.submissions.cancel(handle)

    # ---- room

    def room(self) -> int:
        """See ScorerPool.room."""
        return self._dispatcher.room() if self._dispatcher is not None and self._is_open else 0

    def ends_soon(self) -> bool:
        """See ScorerPool.ends_soon."""
        return self._dispatcher is not None and self._dispatcher.ends_soon()

    def observe_elsewhere(self, num_tasks: int) -> None:
        """See ScorerPool.observe_elsewhere."""
        if self._dispatcher is not None:
            self._dispatcher.workload.service.observe(num_tasks, 0.0)

    def load(self) -> dict[str, Any]:
        """See ScorerPool.load."""
        slots, dispatcher, gate = self._supervisor.slots, self._dispatcher, self._gate
        recycler = self._supervisor.recycler
        return {
            "capacity": self._num_processes,
            "alive": sum(slot.state is SlotState.READY for slot in slots),
            "busy": sum(slot.num_open > 0 for slot in slots),
            "waiting": 0 if dispatcher is None else dispatcher.num_waiting,
            "in_flight": sum(slot.num_open for slot in slots),
            "restarts": self._supervisor.num_restarts,
            "crashes": 0 if dispatcher is None else dispatcher.num_crashes,
            "killed": 0 if dispatcher is None else dispatcher.num_killed,
            "recycled": 0 if recycler is None else recycler.num_recycled,
            "service_us": 0.0
            if dispatcher is None
            else round(dispatcher.workload.service.estimate_us, 1),
            "quarantined": 0 if gate is None else gate.load(time.monotonic()),
            "profiles": self._bulkhead.load(),
            "pids": [slot.pid for slot in slots],
        }

    def _num_unfinished(self) -> int:
        if self._dispatcher is None:
            return 0
        return self._dispatcher.num_waiting + sum(slot.num_open for slot in self._supervisor.slots)
