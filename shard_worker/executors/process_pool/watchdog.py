"""Watches for batches that take too long, with one timer for the whole lane.

A timer for each batch would cost more than the batch, and most batches end long before it would
fire. So the timer is set only if it would otherwise fire too late, and is not cancelled when a
batch ends in time.
"""

import asyncio
import math
import time
from typing import Protocol

from hedgerow.common.errors import ExpiredEnd, ExpiredError, NotStartedError, WorkError
from hedgerow.shard_worker.executors.bulkhead import OURS
from hedgerow.shard_worker.executors.fair_queue import FairQueue
from hedgerow.shard_worker.executors.process_pool.overrun import Patience
from hedgerow.shard_worker.executors.process_pool.scorer_slot import ScorerSlot
from hedgerow.shard_worker.executors.process_pool.task import ENDED, TaskHandle

# A batch is expected to take one window. After this many windows it counts as long, and the tasks
# that it has not started go elsewhere.
_LONG_WINDOWS = 2.0
_SHORTEST_LONG_S = 0.005
# A long batch whose scorer has sent nothing for this many windows has stalled: it is not merely
# waiting for its share of a busy core, and it is unknown when the tasks behind it will start.
_STILL_WINDOWS = 1.0
HELD_UP = "every scorer was held up by other work"
# A scorer that has a batch, but runs, sends and reads nothing for this time, is stopped (SIGSTOP)
# or stuck outside of any task. Its tasks have long been given to others or answered, so only its
# slot is at stake, and the time is long enough for a scorer that is merely starved of CPU.
_STUCK_S = 5.0
# Looking again at once would find nothing new.
_SHORTEST_PAUSE_S = 0.001


class Queue(Protocol):
    """What the watchdog may do with tasks and scorers."""

    waiting: FairQueue[TaskHandle]
    slots: list[ScorerSlot]

    def slots_for(self, profile: str) -> list[ScorerSlot]:
        """The ready scorers, one of which gets the next task of a profile."""

    def is_alone(self, profile: str) -> bool:
        """Whether no other profile's tasks have come lately."""

    def put_back(self, handles: list[TaskHandle]) -> None:
        """Queue tasks again, before all others."""

    def end_with(self, handle: TaskHandle, error: WorkError) -> None:
        """End a task that no scorer has."""

    def kill(self, slot: ScorerSlot, offender: TaskHandle | None) -> None:
        """Kill a scorer and take its batch away."""


class Watchdog:
    """Decides when a scorer is stuck, and which tasks wait too long behind others."""

    def __init__(self, queue: Queue, patience: Patience, window_s: float) -> None:
        self._queue = queue
        self._patience = patience
        self._long_s = max(_SHORTEST_LONG_S, window_s * _LONG_WINDOWS)
        self._still_s = window_s * _STILL_WINDOWS
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._look_at = math.inf

    def expect(self, slot: ScorerSlot, now: float) -> None:
        """A batch was sent: look at it when it would count as long."""
        slot.check_at = slot.relief_at = look_at = now + self._long_s
        if look_at < self._look_at:
            self.look_by(look_at)

    def is_held_up(self, profile: str, now: float) -> bool:
        """Whether every scorer that a profile may get has a long batch that has stalled."""
        ready = self._queue.slots_for(profile)
        return bool(ready) and all(
            slot.is_long and now >= slot.heard_at + self._still_s for slot in ready
        )

    def look_by(self, at: float) -> None:
        """Look no later than `at`, an instant of `time.monotonic()`."""
        if at < self._look_at:
            if self._timer is not None:
                self._timer.cancel()
            self._look_at = at
            self._timer = self._loop.call_later(max(0.0, at - time.monotonic()), self._look)

    def close(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
        self._look_at = -math.inf

    def _look(self) -> None:
        self._timer = None
        self._look_at = math.inf
        now = time.monotonic()
        for slot in self._queue.slots:
            if slot.batch and slot.check_at <= now:
                self._check(slot, now)
        self._sweep(now)
        next_at = min((slot.check_at for slot in self._queue.slots if slot.batch), default=math.inf)
        for handle in self._queue.waiting:
            next_at = min(next_at, handle.expires_at)
        if next_at < math.inf:
            self.look_by(max(next_at, now + _SHORTEST_PAUSE_S))

    def _check(self, slot: ScorerSlot, now: float) -> None:
        running, left_s = slot.running(), math.inf
        if running is not None:
            left_s = self._patience.left_s(slot, running, now)
            if left_s <= 0.0:
                self._queue.kill(slot, running)
                return
        elif slot.is_silent(_STUCK_S, now):
            self._queue.kill(slot, None)  # no task is to blame
            return
        if now >= slot.relief_at:
            slot.is_long = True
            self._relieve(slot, running, now)
            slot.relief_at = self._relief_at(slot, running, now)
        slot.check_at = max(min(slot.relief_at, now + left_s), now + _SHORTEST_PAUSE_S)

    def _relief_at(self, slot: ScorerSlot, running: TaskHandle | None, now: float) -> float:
        """When the first task is due, and from time to time, since another may run by then."""
        grace_s = self._patience.grace_s
        at = now + grace_s + self._long_s
        if (still_at := slot.heard_at + self._still_s) > now:
            at = min(at, still_at)
        for handle in slot.batch:
            if handle is running:
                at = min(at, max(now, handle.expires_at) + grace_s)
            elif slot.is_open(handle):
                at = min(at, handle.expires_at)
        return at

    def _relieve(self, slot: ScorerSlot, running: TaskHandle | None, now: float) -> None:
        """Take the tasks that do not run from a long batch, and move or end them.

        Tasks that have ended, but whose results were not sent yet, are taken and run again, too:
        they were short. Cancelled tasks are left where they are, since they end soon.
        """
        others = [
            handle
            for handle in slot.open_handles()
            if handle is not running and not handle.is_cancelled
        ]
        late = [handle for handle in others if now >= handle.expires_at]
        for handle in late:
            slot.take_back(handle)
            self._queue.end_with(
                handle, ExpiredError("expired behind other work", ExpiredEnd.DROPPED)
            )
        profile, queue = slot.profile, self._queue
        has_other = any(not other.is_long for other in queue.slots_for(profile))
        # Beside other profiles' tasks, they wait here for their profile's turn. In the shard's
        # queue they would be pulled again at once, since there is room for the others.
        waits_its_turn = not queue.is_alone(profile) and not self.is_held_up(OURS, now)
        if has_other or waits_its_turn:
            again = [one for one in others if one not in late and not one.task.stays]
            for handle in again:
                slot.take_back(handle)
            if again:
                self._queue.put_back(again)
        elif self.is_held_up(profile, now):
            self._move_on()

    def _move_on(self) -> None:
        """End the tasks that no scorer has started and that another worker may run."""
        queue = self._queue
        behind = []
        for slot in queue.slots:
            running = slot.running()
            for handle in slot.open_handles():
                if handle is not running and _may_leave(handle):
                    slot.take_back(handle)
                    behind.append(handle)
        waiting = [handle for handle in queue.waiting if handle.generation != ENDED]
        _keep(queue, [handle for handle in waiting if not _may_leave(handle)])
        for handle in (*behind, *filter(_may_leave, waiting)):
            queue.end_with(handle, NotStartedError(HELD_UP))

    def _sweep(self, now: float) -> None:
        """Answer tasks that expired while no scorer was free."""
        waiting = self._queue.waiting
        if not any(now >= handle.expires_at for handle in waiting):
            return
        kept = [handle for handle in waiting if now < handle.expires_at]
        late = [handle for handle in waiting if now >= handle.expires_at]
        _keep(self._queue, kept)
        for handle in late:
            if handle.generation != ENDED:
                self._queue.end_with(
                    handle, ExpiredError("expired before a scorer was free", ExpiredEnd.DROPPED)
                )


def _keep(queue: Queue, handles: list[TaskHandle]) -> None:
    queue.waiting.replace((handle.task.profile, handle) for handle in handles)


def _may_leave(handle: TaskHandle) -> bool:
    # A task that has killed a scorer is tried again here, where it is known to be suspect.
    return handle.task.is_movable and not handle.num_crashes and not handle.is_stopped
