"""Which scorer gets which task, and what becomes of it: the hot path of the process lane.

Everything here runs in callbacks of the event loop, and takes a few µs for each task.
"""

import time
from collections.abc import Callable, Collection, Iterable

import structlog

from hedgerow.common.errors import (
    ExpiredEnd,
    ExpiredError,
    LaneUnavailableError,
    NotStartedError,
    ProfileBusyError,
    ScorerCrashedError,
    WorkError,
)
from hedgerow.shard_worker.executors.bulkhead import OURS, Bulkhead
from hedgerow.shard_worker.executors.process_pool.held_tasks import HeldTasks
from hedgerow.shard_worker.executors.process_pool.limits import DispatchLimits
from hedgerow.shard_worker.executors.process_pool.overrun import Patience
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.executors.process_pool.scorer_slot import ScorerSlot, SlotState
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
from hedgerow.shard_worker.executors.process_pool.watchdog import HELD_UP, Watchdog
from hedgerow.shard_worker.executors.process_pool.workload import Workload

_log = structlog.get_logger()

_MOST_CRASHES = 2
# A task that has lost this many scorers, none of them through its own fault, is given up.
_MOST_MOVES = 8
# Beside tasks of other profiles, a task is refused if its turn would come after this share of the
# time that it has left. (If all tasks waited for longer, admission control would refuse them.)
_MOST_WAIT_SHARE = 0.33


class Dispatcher:
    """Gives waiting tasks to free scorers, and handles their results and failures."""

    def __init__(
        self,
        name: str,
        limits: DispatchLimits,
        bulkhead: Bulkhead,
        gate: QuarantineGate | None,
        kill: Callable[[ScorerSlot], None],
        on_free: Callable[[ScorerSlot], None] | None,
        on_change: Callable[[], None],
    ) -> None:
        """Start without scorers.

        Args:
            name: the lane's, for logs and errors.
            limits: bounds of batches and of what waits.
            bulkhead: how many scorers each profile may have.
            gate: says which tasks must not run; None lets all in.
            kill: kills a scorer.
            on_free: called when a scorer has ended a batch, before it gets another.
            on_change: called whenever tasks have ended or a scorer has become ready.
        """
        self.workload = Workload(limits, bulkhead)
        self.waiting = self.workload.waiting
        self.slots: list[ScorerSlot] = []
        self.num_crashes = 0
        self.num_killed = 0
        self._name = name
        self._limits = limits
        self._bulkhead = bulkhead
        self._gate = gate
        self._kill = kill
        self._on_free = on_free
        self._on_change = on_change
        self._idle: list[ScorerSlot] = []
        self._next_generation = 1
        patience = Patience(limits.grace_s)
        self._watchdog = Watchdog(self, patience, limits.window_us / 1e6)
        self.submissions = Submissions(
            name,
            patience.look_after_s,
            gate,
            dispatch=self._dispatch,
            look_by=self._watchdog.look_by,
            on_change=on_change,
        )
        self._held = HeldTasks(self.put_back)
        if gate is not None:
            gate.listeners.append(self._on_news)

    @property
    def num_waiting(self) -> int:
        """Tasks that no scorer has."""
        return len(self.waiting) + self._held.num_held

    # ---- intake

    def put(self, handle: TaskHandle) -> None:
        """Queue a task; it is sent in the next turn of the loop if a scorer is free for it."""
        waiting, profile = self.waiting, handle.task.profile
        self.workload.arrivals.note(profile, handle.submitted_at)
        if len(waiting) + self._held.num_held >= self._limits.max_waiting:
            self.submissions.refuse(
                handle, LaneUnavailableError(f"{self._name}: too much work waits")
            )
            return
        is_blocked = not self._idle or not self._bulkhead.may_take(profile)
        if is_blocked and (refusal := self._refusal(handle, time.monotonic())) is not None:
            self.submissions.refuse(handle, refusal)
            return
        waiting.append(profile, handle)
        if is_blocked:
            self._watchdog.look_by(handle.expires_at)
        else:
            self.submissions.dispatch_soon()

    def put_in_free(self, task: Task, on_done: Callable[[TaskResult], None]) -> list[TaskHandle]:
        """Send a task to each scorer that no waiting task is for."""
        self._dispatch()
        now = time.monotonic()
        handles = []
        while self._idle:
            handle = TaskHandle(task, on_done, now, task.expires_at)
            self._send(self._idle.pop(), task.profile, [handle], now)
            handles.append(handle)
        return handles

    def _refusal(self, handle: TaskHandle, now: float) -> WorkError | None:
        """Why a task that cannot start at once is refused; None if it may wait."""
        profile = handle.task.profile
        is_among_others = profile != OURS and not self.is_alone(profile)
        # The scorers may have been held up while it was on its way here.
        if handle.task.is_movable and self._watchdog.is_held_up(
            OURS if is_among_others else profile, now
        ):
            return NotStartedError(HELD_UP)
        if not is_among_others or self._bulkhead.may_take(profile):
            return None
        most, num_waiting = self._bulkhead.most(profile), self.waiting.count(profile)
        # On average, what runs now is half done.
        wait_s = (num_waiting + 0.5) * self.workload.service_of(profile).estimate_us / 1e6 / most
        left_s = handle.expires_at - handle.task.late_s - now
        if wait_s <= _MOST_WAIT_SHARE * left_s:
            return None
        self._bulkhead.refuse(profile)
        return ProfileBusyError(
            f"rank profile {profile} holds the {most} scorers that it may hold, "
            f"for {wait_s * 1000:.0f} ms more"
        )

    def put_back(self, handles: Iterable[TaskHandle]) -> None:
        """Queue tasks that have lost their scorer again: before all others, in their order."""
        for handle in reversed(list(handles)):
            self.waiting.put_back(handle.task.profile, handle)
        self._dispatch()

    # ---- dispatch

    def room(self) -> int:
        """See ScorerPool.room."""
        num_idle, nums_open = 0, []
        for slot in self.slots:
            if slot.state is SlotState.READY and not slot.is_long:
                if slot.batch:
                    nums_open.append(slot.num_open)
                else:
                    num_idle += 1
        return self.workload.room(num_idle, nums_open)

    def is_alone(self, profile: str) -> bool:
        """Whether no other profile's tasks have come lately."""
        return self.workload.arrivals.alone() == profile

    def slots_for(self, profile: str) -> list[ScorerSlot]:
        """The ready scorers, one of which gets the next task of a profile."""
        ready = [slot for slot in self.slots if slot.state is SlotState.READY]
        if self._bulkhead.may_take(profile):
            return ready
        return [slot for slot in ready if slot.batch and slot.profile == profile]

    def ends_soon(self) -> bool:
        """See ScorerPool.ends_soon."""
        return self.workload.ends_soon(sum([slot.num_open for slot in self.slots]))

    def _dispatch(self) -> None:
        waiting, idle, bulkhead = self.waiting, self._idle, self._bulkhead
        if waiting and idle:
            now = time.monotonic()
            while idle and (profile := waiting.next_profile(bulkhead.may_take)) is not None:
                most = self.workload.batch_size(profile, len(idle))
                batch = self._take(profile, most, now)
                waiting.end_turn(profile)
                if batch:
                    # The last that became free: its caches are warm.
                    self._send(idle.pop(), profile, batch, now)
        for profile in waiting.profiles():
            if (first := waiting.first(profile)) is not None:
                self._watchdog.look_by(first.expires_at)

    def _send(self, slot: ScorerSlot, profile: str, batch: list[TaskHandle], now: float) -> None:
        slot.profile = profile
        self._bulkhead.take(profile)
        slot.send(batch, self._next_generation, now)
        self._next_generation += len(batch)
        self._watchdog.expect(slot, now)

    def _take(self, profile: str, most: int, now: float) -> list[TaskHandle]:
        batch: list[TaskHandle] = []
        waiting, gate = self.waiting, self._gate
        if gate is not None and not gate.quarantine:
            gate = None  # no task is suspect, so it need not be asked about each
        while len(batch) < most and (handle := waiting.first(profile)) is not None:
            if handle.num_crashes and batch:
                break
            waiting.pop(profile)
            if handle.generation == ENDED:
                continue
            if now >= handle.expires_at:
                self.submissions.refuse(
                    handle, ExpiredError("expired before a scorer was free", ExpiredEnd.DROPPED)
                )
            elif gate is not None and (refusal := gate.refusal(handle, now)):
                self.submissions.refuse(handle, refusal)
            elif gate is not None and (until := gate.wait_until(handle, now)):
                self._held.hold(handle, until)
            else:
                batch.append(handle)
                if handle.num_crashes:  # a suspect runs alone, so that it can harm no other task
                    break
        return batch

    def _on_news(self, fingerprints: Collection[bytes]) -> None:
        """Stop tasks of these fingerprints that must not run now, and release those that may."""
        assert self._gate is not None  # noqa: S101 - it is the caller
        now = time.monotonic()
        again = []
        for slot in self.slots:
            for handle in self._gate.barred(slot.open_handles(), now):
                if handle is slot.running():
                    handle.is_stopped = True
                    slot.trip(handle)
                else:
                    slot.take_back(handle)
                    again.append(handle)
        for fingerprint in fingerprints:
            self._held.release(fingerprint)
        self.put_back(again)

    # ---- reports of the supervisor

    def on_ready(self, slot: ScorerSlot) -> None:
        """A scorer takes batches from now on."""
        if slot.owed != OURS:
            self._bulkhead.give_back(slot.owed)
            slot.owed = OURS
        self._idle.append(slot)
        self._dispatch()
        self._on_change()

    def on_frame(self, slot: ScorerSlot, frame: Frame) -> None:
        """Results of a batch."""
        is_last, num_run, elapsed_us, results = frame
        batch, first = slot.batch, slot.first_generation
        again: list[TaskHandle] = []
        for row in results:
            index = row[0]
            handle = batch[index]
            if handle.generation != first + index:
                continue  # it was taken back, and another scorer has it or it has ended
            slot.num_open -= 1
            if handle.is_stopped and not handle.is_cancelled:
                handle.is_stopped = False
                handle.generation, handle.slot = WAITING, None
                again.append(handle)
                continue
            self.submissions.end(handle, result_of(handle, row))
        if num_run:
            self.workload.observe(slot.profile, num_run, elapsed_us)
        if is_last:
            self._bulkhead.give_back(slot.profile)
            slot.free()
            self._idle.append(slot)
            if self._on_free is not None:
                self._on_free(slot)
            self._dispatch()
        else:
            slot.heard_at = time.monotonic()
        if again:
            self.put_back(again)
        self._on_change()

    def on_replaced(self, slot: ScorerSlot, successor: ScorerSlot) -> None:
        """Another scorer has taken the place of one that had no batch."""
        self._idle[self._idle.index(slot)] = successor

    def on_gone(self, slot: ScorerSlot, status: int | None) -> None:
        """A scorer has ended: its tasks go to others, and the task that it ran is the suspect."""
        if slot in self._idle:
            self._idle.remove(slot)
        if slot.batch:
            # Without a status, not this process has failed but its forkserver.
            suspect = None if status is None else slot.running()
            if suspect is not None:
                self.num_crashes += 1
            self.scatter_batch(slot, suspect)
        self._on_change()

    def kill(self, slot: ScorerSlot, offender: TaskHandle | None) -> None:
        """Kill a scorer whose task ignores its budget, or that does not run at all."""
        self.num_killed += 1
        _log.warning(
            "scorer_killed",
            lane=self._name,
            pid=slot.pid,
            label=None if offender is None else offender.task.identity.label,
        )
        # Read before the kill: a dead process has no CPU time.
        done = None if offender is None else slot.cut_off(offender, time.monotonic())
        self._kill(slot)
        if offender is not None and done is not None:
            if slot.is_open(offender):
                slot.take_back(offender)
                self.submissions.end(offender, done)
            # If only its caller has left, the query is not at fault.
            if not offender.is_cancelled and self._gate is not None:
                self._gate.killed(offender, time.monotonic(), will_retry=False)
        self.scatter_batch(slot, None)
        self._on_change()

    def scatter_batch(self, slot: ScorerSlot, suspect: TaskHandle | None) -> None:
        """Take the whole batch away from a scorer that has ended or is about to.

        The suspect may have begun just as it was taken back from this batch, so that by now it
        waits or another scorer has it; its crash counts all the same.
        """
        if suspect is not None:
            suspect.num_crashes += 1
        again = []
        for handle in slot.open_handles():
            slot.take_back(handle)
            handle.is_stopped = False
            if handle is not suspect:
                handle.num_moves += 1
            if handle.is_cancelled:
                self.end_with(handle, ExpiredError("cancelled"))
            elif handle.num_crashes >= _MOST_CRASHES:
                self.end_with(handle, ScorerCrashedError("killed the scorer that ran it, twice"))
            elif handle.num_moves >= _MOST_MOVES:
                self.end_with(handle, ScorerCrashedError(f"lost {_MOST_MOVES} scorers"))
            else:
                again.append(handle)
        if slot.batch:
            # Until there is another process, the profile that has cost the others this place still
            # counts as having it, so that it does not take the next one, too.
            slot.owed = slot.profile
            if slot.owed == OURS:
                self._bulkhead.give_back(OURS)
        slot.free()
        if suspect is not None and self._gate is not None:
            self._gate.died(suspect, time.monotonic(), suspect.generation != ENDED)
        self.put_back(again)

    # ---- ends

    def end_with(self, handle: TaskHandle, error: WorkError) -> None:
        """End, at once, a task that no scorer has."""
        self.submissions.end(handle, failed(handle, error))
        self._on_change()

    def close(self, error: WorkError) -> None:
        """End everything with `error` and stop all timers."""
        if self._gate is not None:
            self._gate.listeners.remove(self._on_news)
        for slot in self.slots:
            for handle in slot.open_handles():
                self.end_with(handle, error)
        for handle in (*self._held.close(), *self.waiting):
            if handle.generation == WAITING:
                self.end_with(handle, error)
        self.waiting.take_all()
        self.submissions.close()
        self._watchdog.close()
