"""Tasks that one process of the standard pool has: their budgets, and their ends."""

from collections.abc import Sequence
from typing import Any

from hedgerow.common.errors import ExpiredEnd, ExpiredError
from hedgerow.shard_worker.executors.process_pool.budget import Region
from hedgerow.shard_worker.executors.process_pool.task import TaskHandle, TaskResult


class Batch:
    """A call of the executor that is under way; the `Holder` of its tickets.

    Attributes:
        tickets: in the order in which they run.
        profile: whose tasks they are.
        sent_at: when they were given to the executor, s.
        check_at: when the pool looks after it, s.
        is_hung: whether its running task has ignored its budget for longer than it may.
    """

    def __init__(
        self, region: Region, tickets: Sequence[TaskHandle], first_generation: int, now: float
    ) -> None:
        """Write the tasks' deadlines to the shared memory."""
        self.tickets = tickets
        self.profile = tickets[0].work.profile
        self.sent_at = now
        self.check_at = min(ticket.expires_at for ticket in tickets)
        self.is_hung = False
        self._region = region
        self._first_generation = first_generation
        for index, ticket in enumerate(tickets):
            region.expiries[index] = ticket.expires_at
            region.lates[index] = ticket.work.late_s
            region.generations[index] = ticket.generation = first_generation + index
            ticket.slot = self

    @property
    def payloads(self) -> list[Any]:
        """What the handler gets."""
        return [ticket.work.payload for ticket in self.tickets]

    def trip(self, ticket: TaskHandle) -> None:
        """Let the budget of one of its tasks expire now."""
        self._region.expiries[ticket.generation - self._first_generation] = 0.0

    def running(self) -> TaskHandle | None:
        """The task that its process says it runs."""
        index = self._region.current[0] - self._first_generation
        return self.tickets[index] if 0 <= index < len(self.tickets) else None

    def open_tickets(self) -> list[TaskHandle]:
        """Those that have not ended."""
        return [ticket for ticket in self.tickets if ticket.slot is self]

    def overrun(self, ticket: TaskHandle, now: float) -> TaskResult:
        """How a task ends that runs on; nothing tells which process it is, so all counts as CPU."""
        began_at = self._region.began[0]
        lane_us, work_us = _us(began_at - ticket.submitted_at), _us(now - began_at)
        error = ExpiredError("ran on past its deadline", ExpiredEnd.KILLED)
        return TaskResult(b"", lane_us, work_us, work_us, error)


def _us(seconds: float) -> int:
    return int(seconds * 1e6)
