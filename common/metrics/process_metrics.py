"""The metrics of this process, with the names that Prometheus's client libraries give them."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hedgerow.common.metrics.metric import Family, Kind, Metric, single

CPU: Final = Metric(
    "process_cpu_seconds_total", Kind.COUNTER, "CPU time of this process, user and system"
)
MEMORY: Final = Metric(
    "process_resident_memory_bytes", Kind.GAUGE, "Resident memory of this process; Linux only"
)
STARTED: Final = Metric(
    "process_start_time_seconds", Kind.GAUGE, "When this process was started, a Unix time"
)
DESCRIPTORS: Final = Metric(
    "process_open_fds", Kind.GAUGE, "Open file descriptors of this process; Linux only"
)

PROCESS_METRICS: Final = (CPU, MEMORY, STARTED, DESCRIPTORS)


def process_families(started_at: float) -> Iterator[Family]:
    """The metrics of the process that calls this, which was started at a Unix time; takes 50 µs."""
    yield single(CPU, time.process_time())
    yield single(STARTED, started_at)
    if sys.platform == "linux":
        resident = int(Path("/proc/self/statm").read_bytes().split()[1])
        yield single(MEMORY, resident * os.sysconf("SC_PAGE_SIZE"))
        yield single(DESCRIPTORS, len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - is cheaper
