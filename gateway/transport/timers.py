"""Many instants, one timer of the event loop.

Nearly every query sets a timer for its deadline, and ends long before. `loop.call_at` and the
handle's `cancel` cost 1.4 µs, since the loop orders its handles in Python; here an alarm is a tuple
in a heap, and both cost 0.5 µs (32 set at a time).
"""

import asyncio
import heapq
from collections.abc import Callable
from typing import Protocol

# As in asyncio: below so many, alarms that were cancelled are not worth clearing out.
_MIN_CANCELLED = 100


class Alarm(Protocol):
    """A call that has been asked for."""

    def cancel(self) -> None:
        """Do not call."""


class Timers(Protocol):
    """Who calls at an instant: an event loop, or `SharedTimer`."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Alarm:
        """Call `callback` at `when`, on the event loop's clock."""


class SharedTimer:
    """Calls at their instants, in their order, by a single timer of the running loop.

    What was cancelled is forgotten once it is the larger part, so that callbacks of queries that
    have long ended are not kept alive by their deadlines.
    """

    __slots__ = ("_at", "_heap", "_loop", "_num", "_num_cancelled", "_timer")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, _Alarm]] = []
        self._num = 0  # of alarms so far: those for the same instant go off in turn
        self._num_cancelled = 0  # that are in the heap still
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0  # when it goes off

    @property
    def num_held(self) -> int:
        """How many alarms are held, those that were cancelled and not yet forgotten among them."""
        return len(self._heap)

    def call_at(self, when: float, callback: Callable[[], None]) -> "_Alarm":
        """Call `callback` at `when`, on the event loop's clock."""
        alarm = _Alarm(self, callback)
        self._num = num = self._num + 1
        heapq.heappush(self._heap, (when, num, alarm))
        if self._timer is None or when < self._at:
            self._arm(when)
        return alarm

    def on_cancelled(self) -> None:
        """One of the alarms was cancelled; it says so itself."""
        self._num_cancelled = num = self._num_cancelled + 1
        if num > _MIN_CANCELLED and 2 * num > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._num_cancelled = 0

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at = when
        self._timer = self._loop.call_at(when, self._go_off)

    def _go_off(self) -> None:
        self._timer = None
        # The loop may be early by the resolution of its clock; what it calls now is due.
        due = max(self._at, self._loop.time())
        try:
            # A callback may cancel alarms, and have the heap cleared out: read it each time.
            while self._heap and self._heap[0][0] <= due:
                callback = heapq.heappop(self._heap)[2].take()
                if callback is None:
                    self._num_cancelled -= 1
                else:
                    callback()
        finally:  # also after one that has raised, which must not keep the others waiting
            if self._heap and (self._timer is None or self._heap[0][0] < self._at):
                self._arm(self._heap[0][0])


class _Alarm:
    """One call; `callback` is None once it was made or cancelled."""

    __slots__ = ("_timer", "callback")

    def __init__(self, timer: SharedTimer, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback
        self._timer = timer

    def cancel(self) -> None:
        """Do not call."""
        if self.callback is not None:
            self.callback = None
            self._timer.on_cancelled()

    def take(self) -> Callable[[], None] | None:
        """What is to be called, once."""
        callback, self.callback = self.callback, None
        return callback
