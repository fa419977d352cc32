"""What a worker's time went into: answers that were sent, and answers that were not wanted."""

from enum import StrEnum
from typing import Final


class End(StrEnum):
    """How a request's work ended."""

    ANSWERED = "answered"
    DROPPED = "dropped"  # before it started: expired, cancelled, or refused
    STOPPED = "stopped"  # its budget said that it was no longer wanted
    KILLED = "killed"  # it ran on regardless, and its scorer was killed
    LATE = "late"  # a reply was sent after its deadline, for the gateway to learn from
    UNUSED = "unused"  # it ran to its end, and no reply was wanted any more
    UNSTOPPABLE = (
        "unstoppable"  # a blocking call, which nothing can stop, ran on though no reply was wanted
    )


class WorkAccounting:
    """Adds up the work of one worker since its start.

    For each end there are two times in µs, because they tell of different losses. *Work* is how
    long a lane was occupied, time which other requests could have had. *CPU* is what its process,
    thread or loop computed meanwhile: less where scorers share a core, and next to nothing for a
    call that waits.

    The time of a scorer that crashed is in no row, nor is that of a task which was stopped to be
    tried again (`shard_worker.executors.process_pool.quarantine_gate`).
    """

    def __init__(self) -> None:
        """Start with nothing done."""
        self._sums: Final = {end.value: [0, 0, 0] for end in End}

    def add(self, end: str, work_us: int, cpu_us: int, num: int = 1) -> None:
        """The work of `num` requests has ended so, after `work_us` in its lane, `cpu_us` of CPU."""
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
