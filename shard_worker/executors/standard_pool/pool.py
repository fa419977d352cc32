"""The plain process pool: tasks in micro-batches through a `ProcessPoolExecutor`.

    submit ► waiting ► while a process is free: a batch, as one call of the executor ► results

The executor is given no more calls than it has processes, since it takes back none that it has
queued: what has not begun waits here, where it can expire, be cancelled, or have its profile's
turn.

What the executor cannot do, and `process_pool` can:

- *lose one process.* When one dies, the executor breaks and ends the others: every task that it
  had ends with a ScorerCrashedError, and other processes are started. Which task it was is not
  known, so none is tried again, and none is put in quarantine.
- *kill one task.* One that ignores its budget for the grace period ends, for its caller, with an
  ExpiredError. Its process is lost until it returns. So other processes are started; once they are
  ready, the old ones may end what they have, for a second, and are then killed together.
- *answer a batch in parts, or take back a part of it.* What is behind a long task in its batch
  waits for it, and so does the answer of what is before it.
- *replace a process that has grown* (`worker.scorer_max_memory_mb`).
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
        suspects: QuarantineGate | None = None,
    ) -> None:
        """Describe a pool; `start` starts it.

        Args:
            spec: what each process runs.
            num_processes: processes.
            limits: bounds of batches and of what waits.
            bulkhead: which profile may hold how many of the processes; None for any.
            suspects: refuses tasks that are in quarantine; None lets all in.
        """
        super().__init__(spec.name)
        self._spec = spec
        self._num_processes = num_processes
        self._limits = limits
        self._bulkhead = Bulkhead(num_processes, 1.0, {}) if bulkhead is None else bulkhead
        self._suspects = suspects
        self._workload = Workload(limits, self._bulkhead)
        self._waiting = self._workload.waiting
        self._submissions = Submissions(
            spec.name,
            limits.grace_s,
            suspects,
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
        for ticket in self._open_tickets():
            self._drop(ticket, error)
        self._waiting.take_all()
        if self._timer is not None:
            self._timer.cancel()
        await self._succession.close()

    # ---- what the succession asks

    def on_ready(self) -> None:
        """Other processes get batches from now on."""
        self._dispatch()
        self._on_change()

    def on_lost(self, batch: Batch) -> None:
        """A batch will have no results: its processes are about to be killed."""
        self._fail(batch, ScorerCrashedError("the processes of the pool were replaced"))

    def next_end(self) -> asyncio.Future[None]:
        """A future that is done when batches have ended."""
        return self._change()

    # ---- tasks

    def submit(self, work: Task, on_done: Callable[[TaskResult], None]) -> TaskHandle:
        """See ScorerPool.submit; none ends with a NotStartedError or a ProfileBusyError."""
        ticket = TaskHandle(work, on_done, time.monotonic(), work.expires_at)
        if not self._is_open:
            ticket.generation = ENDED
            self._refuse_closed(on_done)
            return ticket
        if len(self._waiting) >= self._limits.max_waiting:
            self._submissions.refuse(
                ticket, LaneUnavailableError(f"{self._name}: too much work waits")
            )
            return ticket
        self._workload.arrivals.note(work.profile, ticket.submitted_at)
        self._waiting.append(work.profile, ticket)
        self._look_by(ticket.expires_at)
        self._submissions.dispatch_soon()
        return ticket

    def cork(self) -> None:
        """See ScorerPool.cork."""
        self._submissions.cork()

    def uncork(self) -> None:
        """See ScorerPool.uncork."""
        self._submissions.uncork()

    def cancel(self, ticket: TaskHandle) -> None:
        """See ScorerPool.cancel."""
        self._submissions.cancel(ticket)

    def _dispatch(self) -> None:
        waiting, bulkhead = self._waiting, self._bulkhead
        now, processes = time.monotonic(), self._succession.current
        while processes is not None and (places := processes.free_places()):
            profile = waiting.next_profile(bulkhead.may_take)
            if profile is None:
                break
            most = self._workload.batch_size(profile, len(places))
            tickets = self._take(profile, most, now)
            waiting.end_turn(profile)
            if tickets:
                self._send(processes, places[0], tickets, now)

    def _take(self, profile: str, most: int, now: float) -> list[TaskHandle]:
        tickets: list[TaskHandle] = []
        waiting, suspects = self._waiting, self._suspects
        while len(tickets) < most and waiting.first(profile) is not None:
            ticket = waiting.pop(profile)
            if ticket.generation == ENDED:
                continue
            if now >= ticket.expires_at:
                self._submissions.refuse(ticket, ExpiredError(_TOO_LATE, ExpiredEnd.DROPPED))
            elif suspects is not None and (refusal := suspects.refusal(ticket, now)):
                self._submissions.refuse(ticket, refusal)
            else:
                tickets.append(ticket)
        return tickets

    def _send(
        self, processes: ScorerProcesses, place: int, tickets: list[TaskHandle], now: float
    ) -> None:
        batch = Batch(processes.regions[place], tickets, self._next_generation, now)
        try:
            future = processes.submit(place, self._next_generation, batch.payloads)
        except BrokenExecutor:
            for ticket in reversed(tickets):
                ticket.generation, ticket.slot = WAITING, None
                self._waiting.put_back(batch.profile, ticket)
            self._succession.on_broken(processes)
            return
        self._next_generation += len(tickets)
        processes.batches[place] = batch
        self._bulkhead.take(batch.profile)
        loop, then = asyncio.get_running_loop(), partial(self._on_result, processes, place)
        future.add_done_callback(lambda ended: loop.call_soon_threadsafe(then, ended))

    # ---- ends

    def _on_result(self, processes: ScorerProcesses, place: int, future: "Future[Frame]") -> None:
        """A call of the executor has ended."""
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            self._succession.on_broken(processes)
            error = ScorerCrashedError("a process of the pool died, and the pool with it")
        batch = processes.batches.pop(place)
        self._bulkhead.give_back(batch.profile)
        if error is None:
            _, num_run, elapsed_us, results = future.result()
            for index, *row in results:
                ticket = batch.tickets[index]
                if ticket.slot is batch:
                    self._submissions.end(ticket, result_of(ticket, *row))
            if num_run:
                self._workload.observe(batch.profile, num_run, elapsed_us)
        elif isinstance(error, WorkError):
            self._fail(batch, error)
        else:  # what cannot be pickled
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
        """End what is late, and find the processes that a late task holds."""
        self._timer, self._look_at = None, math.inf
        now = time.monotonic()
        kept = [ticket for ticket in self._waiting if now < ticket.expires_at]
        late = [ticket for ticket in self._waiting if now >= ticket.expires_at]
        # Before any `on_done` is called, which may submit and cancel.
        self._waiting.replace((ticket.work.profile, ticket) for ticket in kept)
        for ticket in late:
            self._drop(ticket, ExpiredError(_TOO_LATE, ExpiredEnd.DROPPED))
        due = [ticket.expires_at for ticket in kept]
        for batch in self._batches():
            if now >= batch.check_at:
                self._check(batch, now)
            due.append(batch.check_at)
        if (next_at := min(due, default=math.inf)) < math.inf:
            self._look_by(max(next_at, now + _SHORTEST_PAUSE_S))
        self._on_change()

    def _due(self, batch: Batch, ticket: TaskHandle) -> float:
        is_running = ticket is batch.running()
        return ticket.expires_at + (self._limits.grace_s if is_running else 0.0)

    def _check(self, batch: Batch, now: float) -> None:
        for ticket in batch.open_tickets():
            if now < self._due(batch, ticket):
                continue
            if ticket is not batch.running():
                self._drop(ticket, ExpiredError("expired behind other work", ExpiredEnd.DROPPED))
                continue
            batch.is_hung = True
            self._num_killed += 1
            label = ticket.work.identity.label
            _log.warning("process_pool_hung", lane=self._name, label=label)
            self._submissions.end(ticket, batch.overrun(ticket, now))
            if self._suspects is not None and not ticket.is_cancelled:
                self._suspects.killed(ticket, now, will_retry=False)
            self._succession.replace()
        due = [self._due(batch, ticket) for ticket in batch.open_tickets()]
        batch.check_at = min(due, default=math.inf)

    def _fail(self, batch: Batch, error: WorkError) -> None:
        for ticket in batch.open_tickets():
            self._drop(ticket, error)

    def _drop(self, ticket: TaskHandle, error: WorkError) -> None:
        """End a task without a result, unless it has ended."""
        if ticket.generation != ENDED:
            self._submissions.end(ticket, failed(ticket, error))

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
        nums_open = [len(batch.tickets) for batch in batches if batch.sent_at > long_since]
        return self._workload.room(len(processes.free_places()), nums_open)

    def ends_soon(self) -> bool:
        """See ScorerPool.ends_soon."""
        return self._workload.ends_soon(sum(len(batch.tickets) for batch in self._batches()))

    def observe_elsewhere(self, num_works: int) -> None:
        """See ScorerPool.observe_elsewhere."""
        self._workload.service.observe(num_works, 0.0)

    def load(self) -> dict[str, Any]:
        """See ScorerPool.load; of `restarts`, each replacement of the pool counts all processes."""
        processes, suspects = self._succession.current, self._suspects
        children = [] if processes is None or processes.is_broken else processes.children
        batches = self._batches()
        return {
            "capacity": self._num_processes,
            "alive": len(children),
            "busy": len(batches),
            "waiting": len(self._waiting),
            "in_flight": sum(len(batch.open_tickets()) for batch in batches),
            "restarts": self._succession.num_restarts,
            "crashes": self._succession.num_crashes,
            "killed": self._num_killed,
            "recycled": 0,
            "service_us": round(self._workload.service.estimate_us, 1),
            "quarantined": 0 if suspects is None else suspects.load(time.monotonic()),
            "profiles": self._bulkhead.load(),
            "pids": [child.pid for child in children],
        }

    def _batches(self) -> list[Batch]:
        return [batch for its in self._succession.everyone() for batch in its.batches.values()]

    def _open_tickets(self) -> list[TaskHandle]:
        waiting = [ticket for ticket in self._waiting if ticket.generation != ENDED]
        return waiting + [ticket for batch in self._batches() for ticket in batch.open_tickets()]

    def _num_unfinished(self) -> int:
        return len(self._open_tickets())
