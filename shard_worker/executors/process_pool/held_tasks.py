"""Tasks that wait until it is known whether they may run."""

import asyncio
import time
from collections.abc import Callable

from hedgerow.shard_worker.executors.process_pool.task import TaskHandle

_SHORTEST_S = 0.001


class HeldTasks:
    """Holds tasks by fingerprint until they are released or a timer fires.

    Attributes:
        num_held: tasks that are held, including those that have ended meanwhile.
    """

    def __init__(self, put_back: Callable[[list[TaskHandle]], None]) -> None:
        """`put_back` takes the tasks that are released."""
        self.num_held = 0
        self._put_back = put_back
        self._held: dict[bytes, list[TaskHandle]] = {}
        self._timers: dict[bytes, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()

    def hold(self, handle: TaskHandle, until: float) -> None:
        """Hold a task until `until` (by `time.monotonic()`), its expiry or `release`."""
        fingerprint = handle.task.identity.fingerprint
        assert fingerprint is not None  # noqa: S101 - tasks without one are never suspect
        self._held.setdefault(fingerprint, []).append(handle)
        self.num_held += 1
        pause_s = max(_SHORTEST_S, min(until, handle.expires_at) - time.monotonic())
        timer = self._timers.get(fingerprint)
        if timer is None or timer.when() > self._loop.time() + pause_s:
            if timer is not None:
                timer.cancel()
            self._timers[fingerprint] = self._loop.call_later(pause_s, self.release, fingerprint)

    def release(self, fingerprint: bytes) -> None:
        """Release the tasks of one fingerprint."""
        timer = self._timers.pop(fingerprint, None)
        if timer is not None:
            timer.cancel()
            handles = self._held.pop(fingerprint)
            self.num_held -= len(handles)
            self._put_back(handles)

    def close(self) -> list[TaskHandle]:
        """Stop all timers; returns the tasks that were held."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        handles = [handle for held in self._held.values() for handle in held]
        self._held.clear()
        self.num_held = 0
        return handles
