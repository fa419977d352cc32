"""Works that wait, not for a scorer, but until it is known whether they may run."""

import asyncio
import time
from collections.abc import Callable

from hedgerow.shard_worker.executors.process_pool.task import TaskHandle

_SHORTEST_S = 0.001


class HeldTasks:
    """Keeps tasks by fingerprint until they are released, or their time comes.

    Attributes:
        num_held: works that wait here, those included that have ended meanwhile.
    """

    def __init__(self, put_back: Callable[[list[TaskHandle]], None]) -> None:
        """`put_back` takes works that are to be looked at again."""
        self.num_held = 0
        self._put_back = put_back
        self._held: dict[bytes, list[TaskHandle]] = {}
        self._timers: dict[bytes, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()

    def hold(self, ticket: TaskHandle, until: float) -> None:
        """Keep a work until `until`, its deadline, or `release`; instants of `time.monotonic()`."""
        fingerprint = ticket.work.identity.fingerprint
        assert fingerprint is not None  # noqa: S101 - works without one are never suspect
        self._held.setdefault(fingerprint, []).append(ticket)
        self.num_held += 1
        pause_s = max(_SHORTEST_S, min(until, ticket.expires_at) - time.monotonic())
        timer = self._timers.get(fingerprint)
        if timer is None or timer.when() > self._loop.time() + pause_s:
            if timer is not None:
                timer.cancel()
            self._timers[fingerprint] = self._loop.call_later(pause_s, self.release, fingerprint)

    def release(self, fingerprint: bytes) -> None:
        """Look at the works of one fingerprint again."""
        timer = self._timers.pop(fingerprint, None)
        if timer is not None:
            timer.cancel()
            tickets = self._held.pop(fingerprint)
            self.num_held -= len(tickets)
            self._put_back(tickets)

    def close(self) -> list[TaskHandle]:
        """Stop all timers; returns what has waited here."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        tickets = [ticket for held in self._held.values() for ticket in held]
        self._held.clear()
        self.num_held = 0
        return tickets
