"""What a worker's time was spent on: answers that were sent, and answers that were not wanted."""

from enum import StrEnum
from typing import Final


class End(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    DROPPED = "dropped"  # before it started: expired, cancelled, or refused
    STOPPED = "stopped"  # its budget expired, and it ended early
    KILLED = "killed"  # it ignored its budget, and its scorer was killed
    LATE = "late"  # a reply was sent after its deadline, for the gateway to learn from
    UNUSED = "unused"  # it ran to its end, but no reply was wanted any more
    UNSTOPPABLE = "unstoppable"  # a blocking call ran on after its reply was no longer wanted


class WorkAccounting:
    """Adds up the time of one worker's requests since its start.

    For each end there are two times, in µs, since they measure different losses. *Work* is how
    long a lane was occupied, which kept it from other requests. *CPU* is the CPU time of its
    process, thread or loop meanwhile: less than the work where scorers share a core, and next to
    nothing for a call that waits.

    The time of a scorer that crashed is not counted, nor is that of a task that was stopped and
    tried again (`shard_worker.executors.process_pool.quarantine_gate`).
    """

    def __init__(self) -> None:
        """Start with nothing done."""
        self._sums: Final = {end.value: [0, 0, 0] for end in End}

    def add(self, end: str, work_us: int, cpu_us: int, num: int = 1) -> None:
        """Count requests that ended so, after `work_us` in a lane and `cpu_us` of CPU, in µs."""
        sums = self._sums[end]
        sums[0] += num
        sums[1] += work_us
        sums[2] += cpu_us

    def as_dict(self) -> dict[str, dict[str, int]]:
        """End → `count` of requests, `work_us` and `cpu_us`."""
        return {
            end: {"count": count, "work_us": work_us, "cpu_us": cpu_us}
            for end, (count, work_us, cpu_us) in self._sums.items()
        }
