"""Runs calls in a thread to which the system gives the CPU last.

On Linux, a thread has a nice value of its own, which the threads that it starts get, too: those of
a tantivy writer, for example. A process that has made itself nicer cannot go back; a thread ends.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

# Above the process's own. By default, an indexer is as nice as a scorer, which gets three times as
# much of a core then that both need; an event loop gets nine times as much. With 10, this thread
# starves on a machine that is always busy, and with it whatever waits for what it does.
NICER_BY: Final = 5

Result = TypeVar("Result")


class BackgroundThread:
    """One thread; its caller waits for each call."""

    def __init__(self, nicer_by: int = NICER_BY) -> None:
        """Start it with the first call; `nicer_by` of 0 leaves it the priority of the process."""
        self._nicer_by = nicer_by
        self._thread = ThreadPoolExecutor(1, "background", initializer=self._give_way)

    def run(self, call: Callable[[], Result]) -> Result:
        """Call it there; returns what it returns, and raises what it raises."""
        return self._thread.submit(call).result()

    def end(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _give_way(self) -> None:
        if self._nicer_by and sys.platform == "linux":
            with suppress(OSError):  # not allowed here: then it has the priority of the process
                thread = threading.get_native_id()
                nice = os.getpriority(os.PRIO_PROCESS, thread) + self._nicer_by
                os.setpriority(os.PRIO_PROCESS, thread, min(nice, 19))
