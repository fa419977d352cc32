"""An event loop in virtual time: when nothing is ready, its clock jumps to what is due next."""

import asyncio
import itertools
import math
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from types import SimpleNamespace
from typing import Any

_RESOLUTION_S = 1e-9  # timers that are no further apart run together


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio event loop without a selector, whose time passes by jumps.

    Coroutines, futures and timers are asyncio's own. Beside them it keeps an agenda of bare calls
    (`at`) for what happens a million times: a tuple on a heap in place of a timer handle, which
    asyncio compares, runs in a context and guards at about 5 µs each; this costs about 1 µs. A call
    of the agenda runs with `time()` exactly at its instant, one at a time, and whatever it makes
    ready runs before the next.

    There is no I/O and there are no threads: nothing from outside can wake it.

    Timers of a real loop run late, since the system wakes it late or something else runs. So do
    those of this one if `late` says by how much, in s; calls of the agenda, which stand for what
    happens elsewhere, are on time.
    """

    # CPython's own, of which its subclasses make use (selector_events.py, proactor_events.py).
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
        """Call `call(subject)` at `when`, in s; what is due at the same time runs in this order.

        It cannot be taken back: who may change their mind looks again when called. What it raises
        ends the run.
        """
        heappush(self._agenda, (when, next(self._order), call, subject))

    def _advance(self, timeout: float | None) -> list[Any]:
        """Let time pass until something is ready; stands for the selector's `select`."""
        ready, agenda, timers = self._ready, self._agenda, self._scheduled
        if timeout is None and not agenda and not ready:
            raise RuntimeError("every task waits, and nothing is due: the simulation hangs")
        while not ready:
            timer_due = timers[0].when() if timers else math.inf
            if self._late is not None and timers:
                if timer_due != self._due:
                    self._due, self._wakes_at = timer_due, timer_due + self._late()
                timer_due = self._wakes_at
            if not agenda or agenda[0][0] > timer_due:
                if timers:
                    self._now = max(self._now, timer_due)
                    # asyncio runs what is due before now + this, which must be more than now.
                    self._clock_resolution = max(_RESOLUTION_S, 2 * math.ulp(self._now))
                break
            when, _, call, subject = heappop(agenda)
            self._now = max(self._now, when)
            call(subject)
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """No I/O has happened."""

    def _write_to_self(self) -> None:
        """Nobody sleeps that would have to be woken."""
