"""Instants at which the periodic work of a process is done together.

A process checks many things periodically: heartbeats, disks, logs, files of keys. With a timer for
each, every check would wake the process, and each wake-up costs CPU, above all if cores sleep in
between. With common instants, a process wakes once for everything that is due. Processes do not
share these instants: they would all wake at once, and searches would wait.
"""

import asyncio
from weakref import WeakKeyDictionary

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
    return next_tick(now, interval_s, _first_tick.setdefault(loop, now))


async def sleep_to_tick(interval_s: float) -> None:
    """Sleep for about `interval_s`, in s, and wake at a common instant."""
    await asyncio.sleep(tick_after(interval_s) - asyncio.get_running_loop().time())
