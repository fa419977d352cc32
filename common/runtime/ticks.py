"""Instants at which the periodic work of a process is done together.

A process checks many things periodically: heartbeats, disks, logs, files of keys. With a timer for
each, every check would wake the process, and each wake-up costs CPU, above all if cores sleep in
between. With common instants, a process wakes once for everything that is due. Processes do not
share these instants: they would all wake at once, and searches would wait. So the first one is
random: processes of a machine that start together would otherwise reach it within milliseconds.
"""

import asyncio
import random
from typing import Final
from weakref import WeakKeyDictionary

_MOST_WORK_S: Final = 1.0  # the interval of most work; others divide it, or are multiples

_first_tick: WeakKeyDictionary[asyncio.AbstractEventLoop, float] = WeakKeyDictionary()


def next_tick(now: float, interval_s: float, start: float) -> float:
    """The instant closest to `now` plus an interval that is a multiple of it after `start`.

    It is at least half an interval away, and at most one and a half; with an interval of 0, it is
    now.
    """
    if interval_s == 0:
        return now
    return start + (round((now - start) / interval_s) + 1) * interval_s


def tick_after(interval_s: float) -> float:
    """When work that is done every `interval_s` is next due, on the running loop's clock."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    if (start := _first_tick.get(loop)) is None:
        start = _first_tick[loop] = now + draw_phase_s()
    return next_tick(now, interval_s, start)


def draw_phase_s() -> float:
    """Draw how long after it is first asked for the ticks of an event loop begin, in s."""
    return random.uniform(0.0, _MOST_WORK_S)


async def sleep_to_tick(interval_s: float) -> None:
    """Sleep for about `interval_s`, in s, and wake at a common instant."""
    await asyncio.sleep(tick_after(interval_s) - asyncio.get_running_loop().time())
