"""CPU seconds of the parts of a cluster, each with the processes that it has started."""

import time
from collections.abc import Mapping
from pathlib import Path

_SCHEDULED = 2  # CPUCLOCK_SCHED: the clock of time spent on a CPU, in ns, of all threads


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, in all of its threads; 0 when it is gone.

    /proc/PID/stat has the same in ticks of 10 ms; this is the clock that clock_getcpuclockid(3)
    names, whose id is made of the pid (`MAKE_PROCESS_CPUCLOCK` in the kernel's posix-timers.h).
    """
    try:
        return time.clock_gettime((~pid << 3) | _SCHEDULED)
    except OSError:
        return 0.0


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold spaces: what counts stands behind it.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # ended meanwhile
        children.setdefault(parent, []).append(int(stat.parent.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        its = children.get(waiting.pop(), [])
        found += its
        waiting += its
    return found


class CpuMeter:
    """What each part has used since the meter was made."""

    def __init__(self, parts: Mapping[str, list[int]]) -> None:
        """Start to count.

        Args:
            parts: name → the processes that make it up.
        """
        self._parts = {name: list(pids) for name, pids in parts.items()}
        self._at_start = self._read()

    def used_s(self) -> dict[str, float]:
        """CPU seconds of each part since the start."""
        return {name: now - self._at_start[name] for name, now in self._read().items()}

    def _read(self) -> dict[str, float]:
        return {name: sum(map(cpu_s, pids)) for name, pids in self._parts.items()}
