"""Which scorer gets which work, and what becomes of it: the hot path of the process lane.

Everything here runs in callbacks of the event loop, a few µs a work.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Self

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
from hedgerow.shard_worker.executors.fair_queue import FairQueue
from hedgerow.shard_worker.executors.process_pool.arrivals import Arrivals
from hedgerow.shard_worker.executors.process_pool.batching import ServiceTime, share, startable
from hedgerow.shard_worker.executors.process_pool.held_tasks import HeldTasks
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.executors.process_pool.scorer_slot import ScorerSlot, SlotState
from hedgerow.shard_worker.executors.process_pool.task import (
    ENDED,
    WAITING,
    Frame,
    TaskHandle,
    TaskResult,
    error_of,
    failed,
)
from hedgerow.shard_worker.executors.process_pool.watchdog import HELD_UP, Watchdog

_log = structlog.get_logger()

# Room is for one batch that runs and one that waits, so that a scorer finds work when it is done.
_BATCHES_AHEAD = 2
# Works that together take no longer end soon: about as long as a few wakeups of busy processes.
_SOON_US = 500.0
_MOST_CRASHES = 2
# A task that has lost this many scorers, none of them by its fault, is given up.
_MOST_MOVES = 8
# Beside other work, a profile's work is refused whose turn would come after this share of the time
# that it has left; as admission control, which takes longer waits for an overload of all.
_MOST_WAIT_SHARE = 0.33
# Beyond this many batches a scorer, the lane refuses tasks; callers that ask `room` stay below.
# The floor is for lanes of one process and small batches whose callers do not ask: the indexer
# has a caller a shard.
_MOST_WAITING_BATCHES = 16
_LEAST_WAITING_BOUND = 1024


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Bounds of one lane.

    Attributes:
        max_batch: most works in one frame.
        max_waiting: most works that wait; beyond it work is refused.
        window_us: a frame holds as many works as start within this time.
        grace_s: a scorer is killed when its task runs on for this time after its deadline.
    """

    max_batch: int
    max_waiting: int
    window_us: float
    grace_s: float

    @classmethod
    def of(
        cls, num_processes: int, max_batch: int, batch_window_ms: float, kill_grace_ms: float
    ) -> Self:
        """The bounds of a pool with this number of processes."""
        return cls(
            max_batch=max_batch,
            max_waiting=max(
                _LEAST_WAITING_BOUND, _MOST_WAITING_BATCHES * max_batch * num_processes
            ),
            window_us=batch_window_ms * 1000.0,
            grace_s=kill_grace_ms / 1000.0,
        )


class Dispatcher:
    """The works that wait, the scorers that are free, and the rules between them."""

    def __init__(
        self,
        name: str,
        limits: DispatchLimits,
        bulkhead: Bulkhead,
        suspects: QuarantineGate | None,
        kill: Callable[[ScorerSlot], None],
        on_free: Callable[[ScorerSlot], None] | None,
        on_change: Callable[[], None],
    ) -> None:
        """Args beyond the obvious: two that are told.

        `on_free` when a scorer has ended a batch, before it gets another; `on_change` whenever
        works ended or scorers came.
        """
        self.waiting: FairQueue[TaskHandle] = FairQueue()
        self.slots: list[ScorerSlot] = []
        self.service = ServiceTime(limits.window_us)
        self.num_crashes = 0
        self.num_killed = 0
        self._name = name
        self._limits = limits
        self._bulkhead = bulkhead
        self._services: dict[str, ServiceTime] = {}  # by profile
        self._arrivals = Arrivals()
        self._suspects = suspects
        self._kill = kill
        self._on_free = on_free
        self._on_change = on_change
        self._idle: list[ScorerSlot] = []
        self._next_generation = 1
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle | None = None
        self._is_corked = False
        self._guard = Watchdog(self, limits.grace_s, limits.window_us / 1e6)
        self._holds = HeldTasks(self.put_back)
        if suspects is not None:
            suspects.listeners.append(self._on_news)

    @property
    def num_waiting(self) -> int:
        """Works that no scorer has."""
        return len(self.waiting) + self._holds.num_held

    # ---- intake

    def put(self, ticket: TaskHandle) -> None:
        """Queue a work; it is sent in this turn of the loop if it may have a free scorer."""
        waiting, profile = self.waiting, ticket.work.profile
        self._arrivals.note(profile, ticket.submitted_at)
        if len(waiting) + self._holds.num_held >= self._limits.max_waiting:
            self.refuse(ticket, LaneUnavailableError(f"{self._name}: too much work waits"))
            return
        is_blocked = not self._idle or not self._bulkhead.may_take(profile)
        if is_blocked and (refusal := self._refusal(ticket, time.monotonic())) is not None:
            self.refuse(ticket, refusal)
            return
        waiting.append(profile, ticket)
        if is_blocked:
            self._guard.look_by(ticket.expires_at)
        elif self._handle is None and not self._is_corked:
            # Not at once: what is submitted in the same turn of the loop goes in one frame.
            self._handle = self._loop.call_soon(self._dispatch_soon)

    def _refusal(self, ticket: TaskHandle, now: float) -> WorkError | None:
        """Why a work that cannot start at once is not to wait; None when it is."""
        profile = ticket.work.profile
        is_among_others = profile != OURS and not self.is_alone(profile)
        # It may have been on its way here when the scorers were held up.
        if ticket.work.is_movable and self._guard.is_held_up(
            OURS if is_among_others else profile, now
        ):
            return NotStartedError(HELD_UP)
        if not is_among_others or self._bulkhead.may_take(profile):
            return None
        most, num_waiting = self._bulkhead.most(profile), self.waiting.count(profile)
        # What runs is half-way through, on average.
        wait_s = (num_waiting + 0.5) * self.service_of(profile).estimate_us / 1e6 / most
        left_s = ticket.expires_at - ticket.work.late_s - now
        if wait_s <= _MOST_WAIT_SHARE * left_s:
            return None
        self._bulkhead.refuse(profile)
        return ProfileBusyError(
            f"rank profile {profile} holds the {most} scorers that it may hold, "
            f"for {wait_s * 1000:.0f} ms more"
        )

    def put_back(self, tickets: Iterable[TaskHandle]) -> None:
        """Queue works again that lost their scorer, before all others, in their order."""
        for ticket in reversed(list(tickets)):
            self.waiting.put_back(ticket.work.profile, ticket)
        self._dispatch()

    def cork(self) -> None:
        """See ScorerPool.cork."""
        self._is_corked = True

    def uncork(self) -> None:
        """See ScorerPool.uncork."""
        self._is_corked = False
        self._dispatch()

    def cancel(self, ticket: TaskHandle) -> None:
        """See ScorerPool.cancel."""
        if ticket.generation == ENDED or ticket.is_cancelled:
            return
        ticket.is_cancelled = True
        ticket.expires_at = min(ticket.expires_at, time.monotonic())
        slot = ticket.slot
        if slot is None:
            self.refuse(ticket, ExpiredError("cancelled", ExpiredEnd.DROPPED))
        else:
            slot.trip(ticket)
            slot.check_at = min(slot.check_at, ticket.expires_at + self._limits.grace_s)
            self._guard.look_by(slot.check_at)

    # ---- dispatch

    def room(self) -> int:
        """See ScorerPool.room."""
        limits, bulkhead = self._limits, self._bulkhead
        most = limits.max_batch * _BATCHES_AHEAD
        a_scorer = startable(self.service.estimate_us, limits.window_us, most)
        alone = self._arrivals.alone()
        num_idle = len(self.slots)
        if alone != OURS:  # what comes is of this profile, for all that is known
            num_idle = bulkhead.most(alone) - bulkhead.held(alone)
        room = -len(self.waiting)
        for slot in self.slots:
            if slot.state is SlotState.READY and not slot.is_long:
                if slot.batch:
                    room += a_scorer - slot.num_open
                elif num_idle > 0:
                    num_idle -= 1
                    room += a_scorer
        if alone == OURS:  # what waits for its profile's turn takes no room from the others
            for profile in self.waiting.profiles():
                if not bulkhead.may_take(profile):
                    room += self.waiting.count(profile)
        return max(0, room)

    def is_alone(self, profile: str) -> bool:
        """Whether no other profile's works have come lately."""
        return self._arrivals.alone() == profile

    def slots_for(self, profile: str) -> list[ScorerSlot]:
        """The scorers that are ready, one of which the next work of a profile gets."""
        ready = [slot for slot in self.slots if slot.state is SlotState.READY]
        if self._bulkhead.may_take(profile):
            return ready
        return [slot for slot in ready if slot.batch and slot.profile == profile]

    def ends_soon(self) -> bool:
        """See ScorerPool.ends_soon."""
        num_open = sum([slot.num_open for slot in self.slots])
        takes_us = num_open * self.service.estimate_us
        return num_open > 0 and not self.waiting and takes_us <= _SOON_US

    def service_of(self, profile: str) -> ServiceTime:
        """What one work of a profile takes."""
        service = self._services.get(profile)
        if service is None:
            service = self._services[profile] = ServiceTime(self._limits.window_us)
        return service

    def _dispatch_soon(self) -> None:
        self._handle = None
        self._dispatch()

    def _dispatch(self) -> None:
        waiting, idle, limits, bulkhead = self.waiting, self._idle, self._limits, self._bulkhead
        if waiting and idle:
            now = time.monotonic()
            while idle and (profile := waiting.next_profile(bulkhead.may_take)) is not None:
                service_us = self.service_of(profile).estimate_us
                limit = startable(service_us, limits.window_us, limits.max_batch)
                num_places = min(len(idle), bulkhead.most(profile) - bulkhead.held(profile))
                most = share(waiting.count(profile), num_places, limit, service_us)
                batch = self._take(profile, most, now)
                waiting.end_turn(profile)
                if batch:
                    slot = idle.pop()  # the last that became free: its caches are warm
                    slot.profile = profile
                    bulkhead.take(profile)
                    slot.send(batch, self._next_generation, now)
                    self._next_generation += len(batch)
                    self._guard.expect(slot, now)
        for profile in waiting.profiles():
            if (first := waiting.first(profile)) is not None:
                self._guard.look_by(first.expires_at)

    def _take(self, profile: str, most: int, now: float) -> list[TaskHandle]:
        batch: list[TaskHandle] = []
        waiting, suspects = self.waiting, self._suspects
        if suspects is not None and not suspects.quarantine:
            suspects = None  # nothing is suspect, so that it need not be asked for each task
        while len(batch) < most and (ticket := waiting.first(profile)) is not None:
            if ticket.num_crashes and batch:
                break
            waiting.pop(profile)
            if ticket.generation == ENDED:
                continue
            if now >= ticket.expires_at:
                self.refuse(
                    ticket, ExpiredError("expired before a scorer was free", ExpiredEnd.DROPPED)
                )
            elif suspects is not None and (refusal := suspects.refusal(ticket, now)):
                self.refuse(ticket, refusal)
            elif suspects is not None and (until := suspects.wait_until(ticket, now)):
                self._holds.hold(ticket, until)
            else:
                batch.append(ticket)
                if ticket.num_crashes:  # a suspect runs alone, so that it can harm no other task
                    break
        return batch

    def _on_news(self, fingerprints: Collection[bytes]) -> None:
        """Something new is known of these: what must not run now stops, what has waited may run."""
        assert self._suspects is not None  # noqa: S101 - they are who calls
        now = time.monotonic()
        again = []
        for slot in self.slots:
            for ticket in self._suspects.barred(slot.open_tickets(), now):
                if ticket is slot.running():
                    ticket.is_stopped = True
                    slot.trip(ticket)
                else:
                    slot.take_back(ticket)
                    again.append(ticket)
        for fingerprint in fingerprints:
            self._holds.release(fingerprint)
        self.put_back(again)

    # ---- what the crew says

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
        for index, code, started_at, work_us, cpu_us, body in results:
            ticket = batch[index]
            if ticket.generation != first + index:
                continue  # it was taken back, and is another scorer's or has ended by now
            slot.num_open -= 1
            if ticket.is_stopped and not ticket.is_cancelled:
                ticket.is_stopped = False
                ticket.generation, ticket.slot = WAITING, None
                again.append(ticket)
                continue
            lane_us = int((started_at - ticket.submitted_at) * 1e6)
            if ticket.is_cancelled:
                end = ExpiredEnd.STOPPED if code else ExpiredEnd.UNUSED
                done = TaskResult(b"", lane_us, work_us, cpu_us, ExpiredError("cancelled", end))
            elif code:
                done = TaskResult(b"", lane_us, work_us, cpu_us, error_of(code, body))
            else:
                done = TaskResult(body, lane_us, work_us, cpu_us, None)
            self._end(ticket, done)
        if num_run:
            self.service.observe(num_run, elapsed_us)
            self.service_of(slot.profile).observe(num_run, elapsed_us)
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
        """A scorer has ended: its work goes elsewhere, and what it ran is the suspect."""
        if slot in self._idle:
            self._idle.remove(slot)
        if slot.batch:
            # Without a status it was not this process that failed but its launcher.
            suspect = None if status is None else slot.running()
            if suspect is not None:
                self.num_crashes += 1
            self.scatter_batch(slot, suspect)
        self._on_change()

    def kill(self, slot: ScorerSlot, offender: TaskHandle | None) -> None:
        """Kill a scorer whose work ignores its budget, or that does not run at all."""
        self.num_killed += 1
        _log.warning(
            "scorer_killed",
            lane=self._name,
            pid=slot.pid,
            label=None if offender is None else offender.work.identity.label,
        )
        # Asked before: a dead process has no CPU time to read.
        done = None if offender is None else slot.cut_off(offender, time.monotonic())
        self._kill(slot)
        if offender is not None and done is not None:
            if slot.is_open(offender):
                slot.take_back(offender)
                self._end(offender, done)
            # That its caller has left is no fault of the query.
            if not offender.is_cancelled:
                self._blame(offender, will_retry=False)
        self.scatter_batch(slot, None)
        self._on_change()

    def scatter_batch(self, slot: ScorerSlot, suspect: TaskHandle | None) -> None:
        """Take the whole batch away from a scorer that is gone or going."""
        again = []
        for ticket in slot.open_tickets():
            slot.take_back(ticket)
            ticket.is_stopped = False
            if ticket is suspect:
                ticket.num_crashes += 1
            else:
                ticket.num_moves += 1
            if ticket.is_cancelled:
                self.end_with(ticket, ExpiredError("cancelled"))
            elif ticket.num_crashes >= _MOST_CRASHES:
                self.end_with(ticket, ScorerCrashedError("killed the scorer that ran it, twice"))
            elif ticket.num_moves >= _MOST_MOVES:
                self.end_with(ticket, ScorerCrashedError(f"lost {_MOST_MOVES} scorers"))
            else:
                again.append(ticket)
        if slot.batch:
            # Until there is another process, this place is free, and the profile that has taken
            # it from the others must not take the next one too.
            slot.owed = slot.profile
            if slot.owed == OURS:
                self._bulkhead.give_back(OURS)
        slot.free()
        if suspect is not None:
            self._blame(suspect, will_retry=suspect in again)
        self.put_back(again)

    def _blame(self, ticket: TaskHandle, *, will_retry: bool) -> None:
        if self._suspects is not None:
            self._suspects.killed(ticket, time.monotonic(), will_retry)

    # ---- ends

    def refuse(self, ticket: TaskHandle, error: WorkError) -> None:
        """End a work that no scorer has, in the next turn of the loop.

        Its `on_done` may submit and cancel, which must not happen inside of `submit` or while a
        batch is being put together.
        """
        ticket.generation = ENDED
        self._loop.call_soon(self._call_refused, ticket, failed(ticket, error))

    def end_with(self, ticket: TaskHandle, error: WorkError) -> None:
        """End a work that no scorer has, now."""
        self._end(ticket, failed(ticket, error))
        self._on_change()

    def close(self, error: WorkError) -> None:
        """End everything with `error` and stop all timers."""
        if self._suspects is not None:
            self._suspects.listeners.remove(self._on_news)
        for slot in self.slots:
            for ticket in slot.open_tickets():
                self.end_with(ticket, error)
        for ticket in (*self._holds.close(), *self.waiting):
            if ticket.generation == WAITING:
                self.end_with(ticket, error)
        self.waiting.take_all()
        if self._handle is not None:
            self._handle.cancel()
        self._guard.close()

    def _end(self, ticket: TaskHandle, done: TaskResult) -> None:
        ticket.generation = ENDED
        ticket.slot = None
        self._call(ticket, done)

    def _call_refused(self, ticket: TaskHandle, done: TaskResult) -> None:
        self._call(ticket, done)
        self._on_change()

    def _call(self, ticket: TaskHandle, done: TaskResult) -> None:
        try:
            ticket.on_done(done)
        except Exception as error:  # noqa: BLE001 - one caller's bug must not end the others' work
            self._loop.call_exception_handler(
                {"message": f"{self._name}: on_done failed", "exception": error}
            )
        if ticket.num_crashes and self._suspects is not None:
            self._suspects.tried(ticket, time.monotonic())
