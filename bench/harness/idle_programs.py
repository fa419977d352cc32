"""Programs that compute all the time, and take only what others leave of the cores."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Final

from bench.harness.processes import start_tied

# It writes to some megabytes, as a program does that indexes. On other systems than Linux, its
# priority is the lowest that there is.
_PROGRAM: Final = """
import os
if hasattr(os, "SCHED_IDLE"):
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
else:
    os.nice(19)
texts = {}
while True:
    for number in range(100_000):
        texts[number % 50_000] = str(number)
"""


@contextlib.contextmanager
def idle_programs() -> Iterator[None]:
    """Run one for each core during the block."""
    started = [start_tied([sys.executable, "-c", _PROGRAM]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for program in started:
            program.kill()
        for program in started:
            program.wait()
