"""An event loop in virtual time: when nothing is ready, its clock jumps to the next due time."""

import asyncio
import itertools
import math
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from types import SimpleNamespace
from typing import Any

_RESOLUTION_S = 1e-9  # timers within this distance run together


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio event loop without a selector, whose time jumps.

    Coroutines, futures and timers are asyncio's own. For events that occur a million times it also
    has an agenda of plain calls (`at`): a tuple on a heap costs about 1 µs, while asyncio compares,
    guards and runs a timer handle in a context for about 5 µs. A call of the agenda runs with
    `time()` exactly at its instant, one at a time, and everything that it makes ready runs before
    the next.

    There is no I/O and there are no threads, so nothing outside can wake it.

    Timers of a real loop run late, because the system wakes it late or other work is running. So
    do the timers of this loop, by what `late` returns, in s. Calls of the agenda stand for events
    in other processes and are on time.
    """

    # CPython's own, used by its subclasses (selector_events.py, proactor_events.py).
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, late: Callable[[], float] | None = None) -> None:
        super().__init__()
        self._now = 0.0
        self._late = late
        self._due = self._wakes_at = 0.0  # the next timer, and when the loop wakes for it
        self._agenda: list[tuple[float, int, Callable[[Any], object], Any]] = []
        self._order = itertools.count()
        self._selector = SimpleNamespace(select=self._advance)
        self._clock_resolution = _RESOLUTION_S

    def time(self) -> float:
        """Virtual time since the loop was made, in s."""
        return self._now

    async def sleep_until(self, when: float) -> None:
        """Return at `when`, in s; never late."""
        woken = self.create_future()
        self.at(when, woken.set_result, None)
        await woken

    def at(self, when: float, call: Callable[[Any], object], subject: Any) -> None:
        """Call `call(subject)` at `when`, in s; calls due at the same time run in the order added.

        It cannot be cancelled: let `call` check whether it is still wanted. An exception ends the
        run.
        """
        heappush(self._agenda, (when, next(self._order), call, subject))

    def _advance(self, timeout: float | None) -> list[Any]:
        """Advance the time until something is ready; takes the place of the selector's `select`."""
        ready, agenda, timers = self._ready, self._agenda, self._scheduled
        if timeout is None and not agenda and not ready:
            raise RuntimeError("every task waits and nothing is due: the simulation hangs")
        while not ready:
            timer_due = timers[0].when() if timers else math.inf
            if self._late is not None and timers:
                if timer_due != self._due:
                    self._due, self._wakes_at = timer_due, timer_due + self._late()
                timer_due = self._wakes_at
            if not agenda or agenda[0][0] > timer_due:
                if timers:
                    self._now = max(self._now, timer_due)
                    # asyncio runs timers due before now + this, which must be greater than now.
                    self._clock_resolution = max(_RESOLUTION_S, 2 * math.ulp(self._now))
                break
            when, _, call, subject = heappop(agenda)
            self._now = max(self._now, when)
            call(subject)
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There is no I/O."""

    def _write_to_self(self) -> None:
        """There is no sleeping selector to wake."""
