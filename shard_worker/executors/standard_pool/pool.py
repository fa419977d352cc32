"""The plain process pool: tasks in micro-batches through a `ProcessPoolExecutor`.

    submit ► waiting ► while a process is free: a batch, as one call of the executor ► results

The executor gets no more calls than it has processes, since calls that it has queued cannot be
taken back. Tasks that have not started wait here, where they can expire, be cancelled, or wait for
their profile's turn.

What `process_pool` can do, and the executor cannot:

- *lose one process.* If a process dies, the executor breaks and ends the others: each of its tasks
  ends with a ScorerCrashedError, and other processes are started. It is unknown which task was the
  cause, so none is tried again, and none is put in quarantine.
- *kill one task.* A task that ignores its budget for the grace period ends, for its caller, with an
  ExpiredError, but its process is lost until the task returns. So other processes are started; once
  they are ready, the old ones have a second to end their tasks, and are then killed together.
- *answer a batch in parts, or take back a part of it.* Tasks behind a long task in a batch wait for
  it, and so do the results of the tasks before it.
- *replace a process that has grown too large* (`worker.scorer_max_memory_mb`).
"""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from functools import partial
from typing import Any

import structlog

from hedgerow.common.errors import (
    ExpiredEnd,
    ExpiredError,
    LaneUnavailableError,
    ScorerCrashedError,
    WorkError,
)
from hedgerow.shard_worker.executors.bulkhead import Bulkhead
from hedgerow.shard_worker.executors.error_text import error_line
from hedgerow.shard_worker.executors.process_pool.limits import DispatchLimits
from hedgerow.shard_worker.executors.process_pool.overrun import Patience
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.executors.process_pool.scorer_process import ScorerSpec
from hedgerow.shard_worker.executors.process_pool.submissions import Submissions
from hedgerow.shard_worker.executors.process_pool.task import (
    ENDED,
    WAITING,
    Frame,
    Task,
    TaskHandle,
    TaskResult,
    failed,
    result_of,
)
from hedgerow.shard_worker.executors.process_pool.workload import Workload
from hedgerow.shard_worker.executors.standard_pool.batch import Batch
from hedgerow.shard_worker.executors.standard_pool.processes import ScorerProcesses
from hedgerow.shard_worker.executors.standard_pool.succession import Succession

_log = structlog.get_logger()

# A batch that has run for this many windows is long, and counts as no room.
_LONG_WINDOWS = 2.0
# Looking again at once would find nothing new.
_SHORTEST_PAUSE_S = 0.001
_TOO_LATE = "expired before a process was free"


class StandardPool(ScorerPool):
    """A handler over tasks, in the processes of a `ProcessPoolExecutor`."""

    def __init__(
        self,
        spec: ScorerSpec,
        num_processes: int,
        limits: DispatchLimits,
        bulkhead: Bulkhead | None = None,
        gate: QuarantineGate | None = None,
    ) -> None:
        """Describe a pool; `start` starts it.

        Args:
            spec: what each process runs.
            num_processes: processes.
            limits: bounds of batches and of what waits.
            bulkhead: which profile may hold how many of the processes; None for any.
            gate: refuses tasks that are in quarantine; None for no quarantine.
        """
        super().__init__(spec.name)
        self._spec = spec
        self._num_processes = num_processes
        self._limits = limits
        self._bulkhead = Bulkhead(num_processes, 1.0, {}) if bulkhead is None else bulkhead
        self._gate = gate
        self._workload = Workload(limits, self._bulkhead)
        self._waiting = self._workload.waiting
        self._patience = Patience(limits.grace_s)
        self._submissions = Submissions(
            spec.name,
            self._patience.look_after_s,
            gate,
            dispatch=self._dispatch,
            look_by=self._look_by,
            on_change=self._on_change,
        )
        self._next_generation = 1
        self._timer: asyncio.TimerHandle | None = None
        self._look_at = math.inf
        self._num_killed = 0
        self._succession = Succession(
            spec.name, lambda: ScorerProcesses(spec, num_processes, limits.max_batch), self
        )

    # ---- life

    async def start(self) -> None:
        """See ScorerPool.start."""
        await self._succession.start()
        self._is_open = True

    async def close(self, drain_s: float) -> None:
        """See ScorerPool.close."""
        self._succession.give_up_start()
        if self._succession.current is None:
            return
        self._is_open = False
        self._on_change()
        await self._drain(drain_s)
        error = LaneUnavailableError(f"{self._name}: shut down before its end")
        for handle in self._open_handles():
            self._drop(handle, error)
        self._waiting.take_all()
        if self._timer is not None:
            self._timer.cancel()
        await self._succession.close()

    # ---- for the succession

    def on_ready(self) -> None:
        """Use other processes from now on."""
        self._dispatch()
        self._on_change()

    def on_lost(self, batch: Batch) -> None:
        """End a batch, since its processes are about to be killed."""
        self._fail(batch, ScorerCrashedError("the processes of the pool were replaced"))

    def next_end(self) -> asyncio.Future[None]:
        """A future that is done when batches have ended."""
        return self._change()

    # ---- tasks

    def submit(self, task: Task, on_done: Callable[[TaskResult], None]) -> TaskHandle:
        """See ScorerPool.submit; no task ends with a NotStartedError or a ProfileBusyError."""
        handle = TaskHandle(task, on_done, time.monotonic(), task.expires_at)
        if not self._is_open:
            handle.generation = ENDED
            self._refuse_closed(on_done)
            return handle
        if len(self._waiting) >= self._limits.max_waiting:
            self._submissions.refuse(
                handle, LaneUnavailableError(f"{self._name}: too much work waits")
            )
            return handle
        self._workload.arrivals.note(task.profile, handle.submitted_at)
        self._waiting.append(task.profile, handle)
        self._look_by(handle.expires_at)
        self._submissions.dispatch_soon()
        return handle

    def submit_to_each(self, task: Task, on_done: Callable[[TaskResult], None]) -> list[TaskHandle]:
        """See ScorerPool.submit_to_each; any process may take any of them, also two."""
        return [self.submit(task, on_done) for _ in range(self._num_processes)]

    def cork(self) -> None:
        """See ScorerPool.cork."""
        self._submissions.cork()

    def uncork(self) -> None:
        """See ScorerPool.uncork."""
        self._submissions.uncork()

    def cancel(self, handle: TaskHandle) -> None:
        """See ScorerPool.cancel."""
        self._submissions.cancel(handle)

    def _dispatch(self) -> None:
        waiting, bulkhead = self._waiting, self._bulkhead
        now, processes = time.monotonic(), self._succession.current
        while processes is not None and (places := processes.free_places()):
            profile = waiting.next_profile(bulkhead.may_take)
            if profile is None:
                break
            most = self._workload.batch_size(profile, len(places))
            handles = self._take(profile, most, now)
            waiting.end_turn(profile)
            if handles:
                self._send(processes, places[0], handles, now)

    def _take(self, profile: str, most: int, now: float) -> list[TaskHandle]:
        handles: list[TaskHandle] = []
        waiting, gate = self._waiting, self._gate
        while len(handles) < most and waiting.first(profile) is not None:
            handle = waiting.pop(profile)
            if handle.generation == ENDED:
                continue
            if now >= handle.expires_at:
                self._submissions.refuse(handle, ExpiredError(_TOO_LATE, ExpiredEnd.DROPPED))
            elif gate is not None and (refusal := gate.refusal(handle, now)):
                self._submissions.refuse(handle, refusal)
            else:
                handles.append(handle)
        return handles

    def _send(
        self, processes: ScorerProcesses, place: int, handles: list[TaskHandle], now: float
    ) -> None:
        batch = Batch(processes.regions[place], handles, self._next_generation, now)
        try:
            future = processes.submit(place, self._next_generation, batch.payloads)
        except BrokenExecutor:
            for handle in reversed(handles):
                handle.generation, handle.slot = WAITING, None
                self._waiting.put_back(batch.profile, handle)
            self._succession.on_broken(processes)
            return
        self._next_generation += len(handles)
        processes.batches[place] = batch
        self._bulkhead.take(batch.profile)
        loop, then = asyncio.get_running_loop(), partial(self._on_result, processes, place)
        future.add_done_callback(lambda ended: loop.call_soon_threadsafe(then, ended))

    # ---- ends

    def _on_result(self, processes: ScorerProcesses, place: int, future: "Future[Frame]") -> None:
        """Take the result of a call of the executor."""
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            self._succession.on_broken(processes)
            error = ScorerCrashedError("a process of the pool died, and the pool with it")
        batch = processes.batches.pop(place)
        self._bulkhead.give_back(batch.profile)
        if error is None:
            _, num_run, elapsed_us, results = future.result()
            for row in results:
                handle = batch.handles[row[0]]
                if handle.slot is batch:
                    self._submissions.end(handle, result_of(handle, row))
            if num_run:
                self._workload.observe(batch.profile, num_run, elapsed_us)
        elif isinstance(error, WorkError):
            self._fail(batch, error)
        else:  # a result or an error that cannot be pickled
            self._fail(batch, WorkError(error_line(error)))
        self._dispatch()
        self._on_change()

    def _look_by(self, at: float) -> None:
        """Look no later than `at`, an instant of `time.monotonic()`."""
        if at < self._look_at:
            if self._timer is not None:
                self._timer.cancel()
            self._look_at = at
            delay_s = max(0.0, at - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        """End tasks that are late, and find batches that hang."""
        self._timer, self._look_at = None, math.inf
        now = time.monotonic()
        kept = [handle for handle in self._waiting if now < handle.expires_at]
        late = [handle for handle in self._waiting if now >= handle.expires_at]
        # Before any `on_done` is called, since it may submit and cancel.
        self._waiting.replace((handle.task.profile, handle) for handle in kept)
        for handle in late:
            self._drop(handle, ExpiredError(_TOO_LATE, ExpiredEnd.DROPPED))
        due = [handle.expires_at for handle in kept]
        for batch in self._batches():
            if now >= batch.check_at:
                self._check(batch, now)
            due.append(batch.check_at)
        if (next_at := min(due, default=math.inf)) < math.inf:
            self._look_by(max(next_at, now + _SHORTEST_PAUSE_S))
        self._on_change()

    def _due(self, batch: Batch, handle: TaskHandle, now: float) -> float:
        if handle is batch.running():
            return now + self._patience.left_s(batch, handle, now)
        return handle.expires_at

    def _check(self, batch: Batch, now: float) -> None:
        for handle in batch.open_handles():
            if now < self._due(batch, handle, now):
                continue
            if handle is not batch.running():
                self._drop(handle, ExpiredError("expired behind other work", ExpiredEnd.DROPPED))
                continue
            batch.is_hung = True
            self._num_killed += 1
            label = handle.task.identity.label
            _log.warning("process_pool_hung", lane=self._name, label=label)
            self._submissions.end(handle, batch.cut_off(handle, now))
            if self._gate is not None and not handle.is_cancelled:
                self._gate.killed(handle, now, will_retry=False)
            self._succession.replace()
        due = [self._due(batch, handle, now) for handle in batch.open_handles()]
        batch.check_at = min(due, default=math.inf)

    def _fail(self, batch: Batch, error: WorkError) -> None:
        for handle in batch.open_handles():
            self._drop(handle, error)

    def _drop(self, handle: TaskHandle, error: WorkError) -> None:
        """End a task without a result, unless it has ended."""
        if handle.generation != ENDED:
            self._submissions.end(handle, failed(handle, error))

    # ---- room

    def room(self) -> int:
        """See ScorerPool.room."""
        if not self._is_open:
            return 0
        processes = self._succession.current
        if processes is None or processes.is_broken:
            return 0
        long_since = time.monotonic() - _LONG_WINDOWS * self._limits.window_us / 1e6
        batches = processes.batches.values()
        nums_open = [len(batch.handles) for batch in batches if batch.sent_at > long_since]
        return self._workload.room(len(processes.free_places()), nums_open)

    def ends_soon(self) -> bool:
        """See ScorerPool.ends_soon."""
        return self._workload.ends_soon(sum(len(batch.handles) for batch in self._batches()))

    def observe_elsewhere(self, num_tasks: int) -> None:
        """See ScorerPool.observe_elsewhere."""
        self._workload.service.observe(num_tasks, 0.0)

    def load(self) -> dict[str, Any]:
        """See ScorerPool.load; in `restarts`, a replacement of the pool counts all processes."""
        processes, gate = self._succession.current, self._gate
        children = [] if processes is None or processes.is_broken else processes.children
        batches = self._batches()
        return {
            "capacity": self._num_processes,
            "alive": len(children),
            "busy": len(batches),
            "waiting": len(self._waiting),
            "in_flight": sum(len(batch.open_handles()) for batch in batches),
            "restarts": self._succession.num_restarts,
            "crashes": self._succession.num_crashes,
            "killed": self._num_killed,
            "recycled": 0,
            "service_us": round(self._workload.service.estimate_us, 1),
            "quarantined": 0 if gate is None else gate.load(time.monotonic()),
            "profiles": self._bulkhead.load(),
            "pids": [child.pid for child in children],
        }

    def _batches(self) -> list[Batch]:
        return [batch for its in self._succession.everyone() for batch in its.batches.values()]

    def _open_handles(self) -> list[TaskHandle]:
        waiting = [handle for handle in self._waiting if handle.generation != ENDED]
        return waiting + [handle for batch in self._batches() for handle in batch.open_handles()]

    def _num_unfinished(self) -> int:
        return len(self._open_handles())
