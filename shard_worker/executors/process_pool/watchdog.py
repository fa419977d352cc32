"""Looks after batches that take too long, with one timer for the whole lane.

A timer a batch would cost more than the batch; most end long before anybody need look. So the
timer is set when it would otherwise fire too late, and never cancelled for what ended in time.
"""

import asyncio
import math
import time
from typing import Protocol

from hedgerow.common.errors import ExpiredEnd, ExpiredError, NotStartedError, WorkError
from hedgerow.shard_worker.executors.bulkhead import OURS
from hedgerow.shard_worker.executors.fair_queue import FairQueue
from hedgerow.shard_worker.executors.process_pool.scorer_slot import ScorerSlot
from hedgerow.shard_worker.executors.process_pool.task import ENDED, TaskHandle

# A batch is expected to take one window; after this many it runs long, and what it has not started
# goes elsewhere.
_LONG_WINDOWS = 2.0
_SHORTEST_LONG_S = 0.005
# A long batch whose scorer has sent nothing for this many windows stands still: it does not merely
# wait for its share of a busy core, and when the tasks behind it will start is unknown.
_STILL_WINDOWS = 1.0
HELD_UP = "every scorer was held up by other work"
# A scorer that has a batch, runs nothing, sends nothing and reads nothing for this time is stopped
# (SIGSTOP) or stuck outside of any work. Its works have long been given to others or answered, so
# only its slot is at stake, and a scorer that is merely starved of CPU must not be taken for it.
_STUCK_S = 5.0
# Looking again at once would find nothing new.
_SHORTEST_PAUSE_S = 0.001


class Queue(Protocol):
    """What the guard may do with works and scorers."""

    waiting: FairQueue[TaskHandle]
    slots: list[ScorerSlot]

    def slots_for(self, profile: str) -> list[ScorerSlot]:
        """The scorers that are ready, one of which the next work of a profile gets."""

    def is_alone(self, profile: str) -> bool:
        """Whether no other profile's works have come lately."""

    def put_back(self, tickets: list[TaskHandle]) -> None:
        """Queue works again, before all others."""

    def end_with(self, ticket: TaskHandle, error: WorkError) -> None:
        """End a work that no scorer has."""

    def kill(self, slot: ScorerSlot, offender: TaskHandle | None) -> None:
        """Kill a scorer and take its batch away."""


class Watchdog:
    """Decides when a scorer is stuck, and who waits too long behind whom."""

    def __init__(self, queue: Queue, grace_s: float, window_s: float) -> None:
        self._queue = queue
        self._grace_s = grace_s
        self._long_s = max(_SHORTEST_LONG_S, window_s * _LONG_WINDOWS)
        self._still_s = window_s * _STILL_WINDOWS
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._look_at = math.inf

    def expect(self, slot: ScorerSlot, now: float) -> None:
        """A batch was sent; look whether it runs long."""
        slot.check_at = look_at = now + self._long_s
        if look_at < self._look_at:
            self.look_by(look_at)

    def is_held_up(self, profile: str, now: float) -> bool:
        """Whether every scorer that a profile may get has a batch that is long and stands still."""
        ready = self._queue.slots_for(profile)
        return bool(ready) and all(
            slot.is_long and now >= slot.heard_at + self._still_s for slot in ready
        )

    def look_by(self, at: float) -> None:
        """Look no later than `at`, an instant of `time.monotonic()`."""
        if at < self._look_at:
            if self._handle is not None:
                self._handle.cancel()
            self._look_at = at
            self._handle = self._loop.call_later(max(0.0, at - time.monotonic()), self._look)

    def close(self) -> None:
        """Stop looking."""
        if self._handle is not None:
            self._handle.cancel()
        self._look_at = -math.inf

    def _look(self) -> None:
        self._handle = None
        self._look_at = math.inf
        now = time.monotonic()
        for slot in self._queue.slots:
            if slot.batch and slot.check_at <= now:
                self._check(slot, now)
        self._sweep(now)
        next_at = min((slot.check_at for slot in self._queue.slots if slot.batch), default=math.inf)
        for ticket in self._queue.waiting:
            next_at = min(next_at, ticket.expires_at)
        if next_at < math.inf:
            self.look_by(max(next_at, now + _SHORTEST_PAUSE_S))

    def _check(self, slot: ScorerSlot, now: float) -> None:
        running = slot.running()
        if running is not None and now >= running.expires_at + self._grace_s:
            self._queue.kill(slot, running)
            return
        if running is None and slot.is_silent(_STUCK_S, now):
            self._queue.kill(slot, None)  # not the task's fault
            return
        slot.is_long = True
        self._relieve(slot, running, now)
        # Whose end comes first; and now and then whatever comes, since what runs changes.
        check_at = now + self._grace_s + self._long_s
        if (still_at := slot.heard_at + self._still_s) > now:
            check_at = min(check_at, still_at)
        for ticket in slot.batch:
            if ticket is running:
                check_at = min(check_at, ticket.expires_at + self._grace_s)
            elif slot.is_open(ticket):
                check_at = min(check_at, ticket.expires_at)
        slot.check_at = max(check_at, now + _SHORTEST_PAUSE_S)

    def _relieve(self, slot: ScorerSlot, running: TaskHandle | None, now: float) -> None:
        """Take from a long batch what does not run: to another scorer or worker, or to its end.

        What has ended but not been sent is taken too, and done again: it was short.
        """
        others = [ticket for ticket in slot.open_tickets() if ticket is not running]
        late = [ticket for ticket in others if now >= ticket.expires_at]
        for ticket in late:
            slot.take_back(ticket)
            self._queue.end_with(
                ticket, ExpiredError("expired behind other work", ExpiredEnd.DROPPED)
            )
        profile, queue = slot.profile, self._queue
        has_other = any(not other.is_long for other in queue.slots_for(profile))
        # Beside others they wait here for their profile's turn: in the shard's queue they would be
        # pulled again at once, since there is room for the others.
        waits_its_turn = not queue.is_alone(profile) and not self.is_held_up(OURS, now)
        if has_other or waits_its_turn:
            again = [ticket for ticket in others if ticket not in late]
            for ticket in again:
                slot.take_back(ticket)
            if again:
                self._queue.put_back(again)
        elif self.is_held_up(profile, now):
            self._move_on()

    def _move_on(self) -> None:
        """End what no scorer has started, where another worker may start it."""
        queue = self._queue
        behind = []
        for slot in queue.slots:
            running = slot.running()
            for ticket in slot.open_tickets():
                if ticket is not running and _may_leave(ticket):
                    slot.take_back(ticket)
                    behind.append(ticket)
        waiting = [ticket for ticket in queue.waiting if ticket.generation != ENDED]
        _keep(queue, [ticket for ticket in waiting if not _may_leave(ticket)])
        for ticket in (*behind, *filter(_may_leave, waiting)):
            queue.end_with(ticket, NotStartedError(HELD_UP))

    def _sweep(self, now: float) -> None:
        """Answer works that expired while no scorer was free."""
        waiting = self._queue.waiting
        if not any(now >= ticket.expires_at for ticket in waiting):
            return
        kept = [ticket for ticket in waiting if now < ticket.expires_at]
        late = [ticket for ticket in waiting if now >= ticket.expires_at]
        _keep(self._queue, kept)
        for ticket in late:
            if ticket.generation != ENDED:
                self._queue.end_with(
                    ticket, ExpiredError("expired before a scorer was free", ExpiredEnd.DROPPED)
                )


def _keep(queue: Queue, tickets: list[TaskHandle]) -> None:
    queue.waiting.replace((ticket.work.profile, ticket) for ticket in tickets)


def _may_leave(ticket: TaskHandle) -> bool:
    # One that has lost a scorer is tried once more here, where it is known for a suspect.
    return ticket.work.is_movable and not ticket.num_crashes and not ticket.is_stopped
