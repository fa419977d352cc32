"""CPU time and memory of a worker's processes, for its heartbeat."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from hedgerow.shard_worker.executors.process_pool.cpu_time import process_cpu_s
from hedgerow.shard_worker.executors.process_pool.process_memory import own_memory_mb

_OWN = "worker"


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

    def read(self) -> dict[str, dict[str, float]]:
        """Name → `cpu_s` since the start, and `memory_mb`; without what the system does not tell.

        The worker's own process is `worker`. Takes some 20 µs a process.
        """
        found = {_OWN: _known(cpu_s=time.process_time(), memory_mb=own_memory_mb(os.getpid()))}
        for name, load in self._lanes.items():
            pids = [pid for pid in load()["pids"] if pid > 0]
            memory = [mb for pid in pids if (mb := own_memory_mb(pid)) is not None]
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
                memory_mb=sum(memory) if memory else None,
            )
        return found


def _known(**values: float | None) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
