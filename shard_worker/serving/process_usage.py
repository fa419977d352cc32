"""CPU time and memory of a worker's processes, for its heartbeat."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from hedgerow.shard_worker.executors.process_pool.core_use import process_cpu_s
from hedgerow.shard_worker.executors.process_pool.process_memory import own_memory_mb

_OWN: Final = "worker"
# A process that has used less CPU since its memory was read has about as much as then.
_IDLE_S: Final = 0.001


class _Memory(NamedTuple):
    mb: float | None
    read_at_s: float  # the CPU time of the process


class ProcessUsage:
    """Adds up what the processes of each lane use.

    The CPU time of a lane never falls, also when a process of it ends. What a process used after
    the last look, in half a second at most, is lost with it.
    """

    def __init__(self, lanes: Mapping[str, Callable[[], Mapping[str, Any]]]) -> None:
        """Look at lanes.

        Args:
            lanes: name → returns the load of the lane, with the `pids` of its processes.
        """
        self._lanes = dict(lanes)
        self._cpu_s = dict.fromkeys(lanes, 0.0)
        self._seen: dict[str, dict[int, float]] = {name: {} for name in lanes}
        self._memory: dict[str, dict[int, _Memory]] = {name: {} for name in lanes}

    def read(self) -> dict[str, dict[str, float]]:
        """Name → `cpu_s` since the start, and `memory_mb`; without what the system does not tell.

        The worker's own process is `worker`. Takes some 20 µs for each process that is not idle.
        """
        found = {_OWN: _known(cpu_s=time.process_time(), memory_mb=own_memory_mb(os.getpid()))}
        for name, load in self._lanes.items():
            pids = [pid for pid in load()["pids"] if pid > 0]
            cpu = {pid: used_s for pid in pids if (used_s := process_cpu_s(pid)) is not None}
            seen = self._seen[name]
            # A pid may be used again: then it has used less than the one before it.
            self._cpu_s[name] += sum(
                used_s - before if used_s >= (before := seen.get(pid, 0.0)) else used_s
                for pid, used_s in cpu.items()
            )
            self._seen[name] = cpu
            found[name] = _known(
                cpu_s=self._cpu_s[name] or (0.0 if cpu else None),
                memory_mb=self._memory_mb(name, pids),
            )
        return found

    def _memory_mb(self, name: str, pids: Iterable[int]) -> float | None:
        """The memory of a lane's processes; that of idle ones is not read again."""
        before, cpu = self._memory[name], self._seen[name]
        self._memory[name] = now = {}
        for pid in pids:
            used_s, known = cpu.get(pid), before.get(pid)
            is_idle = known and used_s and 0 <= used_s - known.read_at_s < _IDLE_S
            now[pid] = known if known and is_idle else _Memory(own_memory_mb(pid), used_s or 0.0)
        memory = [one.mb for one in now.values() if one.mb is not None]
        return sum(memory) if memory else None


def _known(**values: float | None) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
