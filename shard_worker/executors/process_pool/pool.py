"""The process lane: CPU work in scorer processes, one work at a time in each.

    submit ► waiting ► a free scorer takes what it will start soon, in one frame ► results ► on_done

A scorer is a slot with one process of its own, so a process that dies takes down only what it ran.
The way to it is a socket with MessagePack frames, watched by the event loop: no queue, no thread
and no task for each work. docs/decisions/process-pool.md compares it with `ProcessPoolExecutor`,
which cannot tell what work a process died of, take back what it has not started, or stop one work.

What happens to work:

- *expired or quarantined at its turn*: answered here, never sent;
- *the batch before it runs long*: taken back and given to another scorer; where all are held up,
  ended with NotStartedError if another worker may have it (`Task.is_movable`);
- *it ignores its budget* `kill_grace_ms` *past its deadline*: its scorer is killed, it counts as
  expired and as a kill in the quarantine; what was queued behind it goes to other scorers;
- *its scorer dies under it*: tried once more, alone in its frame; then it has crashed;
- *the same work kills a scorer, here or in another worker*: stopped, and kept until that one's
  second try has ended; then refused, or started again;
- *its scorer dies before its turn*: moved, which is not counted as a try;
- *its scorer has grown too large*: nothing; it is replaced between two batches.
- *other works of its rank profile have all the scorers that the profile may hold*: it waits for
  its profile's turn, and the others go on; beside works of others it is refused
  (ProfileBusyError) if its turn would come too late (`bulkhead`).
"""

import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any

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
        suspects: QuarantineGate | None,
        name: str,
        import_path: Sequence[str] = (),
        prepare: Callable[[], None] | None = None,
        nice: int = 0,
        memory_limit: MemoryLimit | None = None,
        bulkhead: Bulkhead | None = None,
        start_launcher: Start = start_interpreter,
    ) -> None:
        """Describe a lane; `start` starts it.

        Args:
            factory: "module:callable", called once in each process; returns
                `handler(payload: bytes, budget: Budget) -> bytes`. Its module is imported in a
                process that forks, so importing it must start no thread.
            config: the factory's argument, picklable.
            num_processes: scorer processes.
            max_batch: most works in one frame.
            batch_window_ms: a frame holds as many works as start within this time.
            kill_grace_ms: how long a task may run on after its deadline until its scorer is killed.
            suspects: refuses works that have killed scorers, of this lane and of others; None lets
                all in.
            name: shown in logs and as the processes' name.
            import_path: folders that the scorers put first on `sys.path`.
            prepare: called first in each process, to log as this one does; picklable.
            nice: by how much the scorers are nicer than this process.
            memory_limit: a scorer that has grown beyond it is replaced; None for no limit.
            bulkhead: which profile may hold how many of the scorers; None for any.
            start_launcher: starts the process that forks the scorers.
        """
        super().__init__(name)
        self._bulkhead = Bulkhead(num_processes, 1.0, {}) if bulkhead is None else bulkhead
        self._num_processes = num_processes
        self._limits = DispatchLimits.of(num_processes, max_batch, batch_window_ms, kill_grace_ms)
        self._suspects = suspects
        self._crew = Supervisor(
            ScorerSpec(name, factory, pickle.dumps(config), tuple(import_path), prepare, nice),
            num_processes,
            max_batch,
            memory_limit,
            start_launcher,
        )
        self._dispatcher: Dispatcher | None = None

    # ---- life

    async def start(self) -> None:
        """See ScorerPool.start."""
        recycler = self._crew.recycler
        self._dispatcher = Dispatcher(
            self._name,
            self._limits,
            self._bulkhead,
            self._suspects,
            self._crew.kill,
            None if recycler is None else recycler.on_free,
            self._on_change,
        )
        self._dispatcher.slots = self._crew.slots
        self._is_open = True
        try:
            await self._crew.start(self._dispatcher)
        except BaseException:
            await self.close(0.0)
            raise

    async def close(self, drain_s: float) -> None:
        """Stop taking work, drain, end every process; returns when all are gone.

        Intake stops first, so that what is in flight only shrinks; then it is waited for, at most
        `drain_s`; then what is left is answered (LaneUnavailableError), before its scorers are
        killed; idle scorers end by themselves when their channel closes; the launcher ends after
        the last of them, and the shared memory goes when no process can read it any more.
        """
        if self._dispatcher is None:
            return
        self._is_open = False
        self._on_change()
        await self._drain(drain_s)
        self._dispatcher.close(LaneUnavailableError(f"{self._name}: shut down before its end"))
        await self._crew.close()
        self._dispatcher = None

    # ---- work

    def submit(self, work: Task, on_done: Callable[[TaskResult], None]) -> TaskHandle:
        """See ScorerPool.submit."""
        ticket = TaskHandle(work, on_done, time.monotonic(), work.expires_at)
        dispatcher = self._dispatcher
        if dispatcher is not None and self._is_open:
            dispatcher.put(ticket)
        else:
            ticket.generation = ENDED
            self._refuse_closed(on_done)
        return ticket

    def cork(self) -> None:
        """See ScorerPool.cork."""
        if self._dispatcher is not None:
            self._dispatcher.submissions.cork()

    def uncork(self) -> None:
        """See ScorerPool.uncork."""
        if self._dispatcher is not None:
            self._dispatcher.submissions.uncork()

    def cancel(self, ticket: TaskHandle) -> None:
        """See ScorerPool.cancel; what runs on for the grace period is killed with its scorer."""
        if self._dispatcher is not None:
            self._dispatcher.submissions.cancel(ticket)

    # ---- room

    def room(self) -> int:
        """See ScorerPool.room."""
        return self._dispatcher.room() if self._dispatcher is not None and self._is_open else 0

    def ends_soon(self) -> bool:
        """See ScorerPool.ends_soon."""
        return self._dispatcher is not None and self._dispatcher.ends_soon()

    def observe_elsewhere(self, num_works: int) -> None:
        """See ScorerPool.observe_elsewhere."""
        if self._dispatcher is not None:
            self._dispatcher.workload.service.observe(num_works, 0.0)

    def load(self) -> dict[str, Any]:
        """See ScorerPool.load."""
        slots, dispatcher, suspects = self._crew.slots, self._dispatcher, self._suspects
        recycler = self._crew.recycler
        return {
            "capacity": self._num_processes,
            "alive": sum(slot.state is SlotState.READY for slot in slots),
            "busy": sum(slot.num_open > 0 for slot in slots),
            "waiting": 0 if dispatcher is None else dispatcher.num_waiting,
            "in_flight": sum(slot.num_open for slot in slots),
            "restarts": self._crew.num_restarts,
            "crashes": 0 if dispatcher is None else dispatcher.num_crashes,
            "killed": 0 if dispatcher is None else dispatcher.num_killed,
            "recycled": 0 if recycler is None else recycler.num_recycled,
            "service_us": 0.0
            if dispatcher is None
            else round(dispatcher.workload.service.estimate_us, 1),
            "quarantined": 0 if suspects is None else suspects.load(time.monotonic()),
            "profiles": self._bulkhead.load(),
            "pids": [slot.pid for slot in slots],
        }

    def _num_unfinished(self) -> int:
        if self._dispatcher is None:
            return 0
        return self._dispatcher.num_waiting + sum(slot.num_open for slot in self._crew.slots)
