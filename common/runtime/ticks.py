"""Instants at which the periodic work of a process is done together.

A process looks at many things now and then: heartbeats, disks, logs, files of keys. Each look by a
timer of its own wakes the process, and each wake-up costs CPU, above all where cores sleep in
between. On common instants a process wakes once for all that is due. Processes do not share them:
their turns would come at once, and searches would wait.
"""

import asyncio
from weakref import WeakKeyDictionary

_first_tick: WeakKeyDictionary[asyncio.AbstractEventLoop, float] = WeakKeyDictionary()


def next_tick(now: float, interval_s: float, start: float) -> float:
    """The instant that is a whole number of intervals after `start` and closest to one from `now`.

    It is half an interval away at least, and one and a half at most; with an interval of 0, now.
    """
    if interval_s == 0:
        return now
    return start + (round((now - start) / interval_s) + 1) * interval_s


def tick_after(interval_s: float) -> float:
    """When work that is done every `interval_s` is due next, on the running loop's clock."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    return next_tick(now, interval_s, _first_tick.setdefault(loop, now))


async def sleep_to_tick(interval_s: float) -> None:
    """Sleep for about `interval_s`, in s, and wake with the others that sleep this way."""
    await asyncio.sleep(tick_after(interval_s) - asyncio.get_running_loop().time())
