"""Runs calls in a thread to which the system gives the CPU last.

On Linux, a thread has a priority of its own, which the threads that it starts get, too: those of a
tantivy writer, for example. A process that has lowered its own cannot go back; a thread ends.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import IntEnum
from typing import Final, TypeVar

# Above the process's own. By default, an indexer is as nice as a scorer, which gets three times as
# much of a core then that both need; an event loop gets nine times as much. With 10, this thread
# starves on a machine that is always busy, and with it whatever waits for what it does.
NICER_BY: Final = 5


class Priority(IntEnum):
    """The priority of a thread.

    A nicer thread that has a core keeps it for some milliseconds when another one wakes that wants
    it, and each hop of a search wakes one. An idle thread (sched(7), SCHED_IDLE) loses it at once,
    and its core counts as free when the system looks for one. It gets next to nothing while the
    cores are busy.
    """

    OF_PROCESS = 0
    NICER = 1
    IDLE = 2


HAS_IDLE: Final = hasattr(os, "SCHED_IDLE")  # on Linux

Result = TypeVar("Result")


class BackgroundThread:
    """One thread; its caller waits for each call."""

    def __init__(self, priority: Priority) -> None:
        """Start it with the first call."""
        self._priority = priority
        self._thread = ThreadPoolExecutor(1, "background", initializer=self._give_way)

    def run(self, call: Callable[[], Result]) -> Result:
        """Call it there; returns what it returns, and raises what it raises."""
        return self._thread.submit(call).result()

    def end(self, *, wait: bool = True) -> None:
        """End the thread; without `wait`, it ends when the system gives it the CPU."""
        self._thread.shutdown(wait)

    def _give_way(self) -> None:
        if self._priority is Priority.OF_PROCESS or sys.platform != "linux":
            return
        with suppress(OSError):  # not allowed here: then it has the priority of the process
            thread = threading.get_native_id()
            nice = os.getpriority(os.PRIO_PROCESS, thread) + NICER_BY
            os.setpriority(os.PRIO_PROCESS, thread, min(nice, 19))
            if self._priority is Priority.IDLE:
                os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def run_aside(priority: Priority, call: Callable[[], Result]) -> Result:
    """Call it in a thread that ends with the call; returns and raises what it does.

    This is for work that writes no index: the threads of a writer would keep its priority. If a
    thread of idle priority lives until its process ends, it is the last of its threads to end, and
    on a busy machine it waits long for a core. If a program has listed the threads of the process
    meanwhile, as `htop` does, the parent's waitpid(2) takes CPU for as long as that: up to 0.4 s at
    the end of a split (Linux 6.18).
    """
    thread = BackgroundThread(priority)
    try:
        return thread.run(call)
    finally:
        thread.end(wait=False)
