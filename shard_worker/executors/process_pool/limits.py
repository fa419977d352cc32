"""The bounds of a process pool: of batches, of what waits, and of lateness."""

from dataclasses import dataclass
from typing import Self

# Beyond this many batches a process, a pool refuses tasks; callers that ask `room` stay below.
# The floor is for pools of one process and small batches whose callers do not ask: the indexer
# has a caller for each shard.
_MOST_WAITING_BATCHES = 16
_LEAST_WAITING_BOUND = 1024


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Bounds of one pool.

    Attributes:
        max_batch: most tasks in one batch.
        max_waiting: most tasks that wait; beyond it tasks are refused.
        window_us: a batch holds as many tasks as start within this time, in µs.
        grace_s: how long a task may run on after its deadline before its process is killed, in s.
    """

    max_batch: int
    max_waiting: int
    window_us: float
    grace_s: float

    @classmethod
    def of(
        cls, num_processes: int, max_batch: int, batch_window_ms: float, kill_grace_ms: float
    ) -> Self:
        """The bounds of a pool with this number of processes."""
        return cls(
            max_batch=max_batch,
            max_waiting=max(
                _LEAST_WAITING_BOUND, _MOST_WAITING_BATCHES * max_batch * num_processes
            ),
            window_us=batch_window_ms * 1000.0,
            grace_s=kill_grace_ms / 1000.0,
        )
