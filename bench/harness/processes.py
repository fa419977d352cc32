"""What the parts of a cluster cost: CPU seconds and wakeups of processes."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from shard_worker.lanes.cpu_time import process_cpu_s


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
        self._at_start = {name: {pid: _cpu_s(pid) for pid in pids} for name, pids in parts.items()}

    def used_s(self) -> dict[str, float]:
        """CPU seconds of each part since the start; of a process that is gone, nobody can tell."""
        return {
            name: sum(max(0.0, _cpu_s(pid) - before) for pid, before in at_start.items())
            for name, at_start in self._at_start.items()
        }


def num_wakeups(pids: Iterable[int]) -> int:
    """How often the threads of these processes, those that live now, have waited and been woken.

    By their voluntary context switches, since each was started (proc(5)).
    """
    total = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):  # ended meanwhile
                told = status.read_text().partition("\nvoluntary_ctxt_switches:")[2]
                total += int(told.split(maxsplit=1)[0])
    return total


def _cpu_s(pid: int) -> float:
    return process_cpu_s(pid) or 0.0
