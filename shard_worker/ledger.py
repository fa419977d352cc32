"""What a worker's work was for: answers that were sent, and work on answers that nobody took."""

from enum import StrEnum
from typing import Final


class End(StrEnum):
    """How a request's work ended."""

    ANSWERED = "answered"
    DROPPED = "dropped"  # before it started: expired, cancelled, or refused
    STOPPED = "stopped"  # its budget told it that nobody waits any more
    KILLED = "killed"  # it ran on regardless, and its scorer was killed
    LATE = "late"  # a reply was sent after its deadline, for the gateway to learn from
    UNUSED = "unused"  # it ran to its end, and nobody wanted a reply any more
    UNSTOPPABLE = "unstoppable"  # a blocking call, which nothing can stop, ran on without a taker


class Ledger:
    """Adds up the work of one worker since its start.

    Work is the time that a lane was occupied, in µs: of CPU work in the process lane that is its
    CPU time, or more where scorers share a core; of a blocking call it is time waited.
    """

    def __init__(self) -> None:
        """Start with nothing done."""
        self._counts: Final = dict.fromkeys((end.value for end in End), 0)
        self._work_us: Final = dict.fromkeys((end.value for end in End), 0)

    def add(self, end: str, work_us: int) -> None:
        """A request's work has ended so, after `work_us` in its lane."""
        self._counts[end] += 1
        self._work_us[end] += work_us

    def as_dict(self) -> dict[str, dict[str, int]]:
        """End → `count` of requests and `work_us`."""
        return {
            end: {"count": self._counts[end], "work_us": self._work_us[end]} for end in self._counts
        }
