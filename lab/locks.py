"""Locks that know which thread holds them, and a watchdog that detects deadlocks."""

import sys
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple, Self


class Wait(NamedTuple):
    """A thread that waits, the lock it waits for, and the thread that holds that lock."""

    thread: str
    wants: str
    held_by: str


class DeadlockError(RuntimeError):
    """Raised in threads that wait for each other, once the watchdog has detected it."""


def find_circle(holders: Mapping[str, str], wants: Mapping[str, str]) -> list[Wait]:
    """Find threads that wait for each other in a cycle; pure.

    Args:
        holders: lock → the thread that holds it.
        wants: thread → the lock that it waits for.

    Returns:
        The cycle, starting from any of its threads; [] if some thread can go on.
    """
    for first in wants:
        waits: list[Wait] = []
        seen: set[str] = set()
        thread = first
        while thread not in seen and thread in wants and wants[thread] in holders:
            seen.add(thread)
            holder = holders[wants[thread]]
            waits.append(Wait(thread, wants[thread], holder))
            thread = holder
        if waits and thread == first:
            return waits
    return []


class Locks:
    """Locks by name, and which threads hold and want them."""

    def __init__(self) -> None:
        """Start with none."""
        self.holders: dict[str, str] = {}
        self.wants: dict[str, str] = {}
        self.is_broken = threading.Event()
        self._locks: dict[str, threading.Lock] = {}
        self._making = threading.Lock()

    def take(self, name: str, poll_s: float = 0.02) -> None:
        """Take a lock, however long that takes.

        Raises:
            DeadlockError: the watchdog has ended all waits.
        """
        with self._making:
            lock = self._locks.setdefault(name, threading.Lock())
        me = threading.current_thread().name
        self.wants[me] = name
        try:
            # A wait without an end would keep its thread for ever, and the lab needs the thread.
            while not lock.acquire(timeout=poll_s):
                if self.is_broken.is_set():
                    raise DeadlockError(f"{me} waits for {name} in vain")
            self.holders[name] = me
        finally:
            del self.wants[me]

    def give(self, name: str) -> None:
        """Release a lock that this thread holds."""
        del self.holders[name]
        self._locks[name].release()


class Watchdog:
    """Checks the locks in a thread of its own, since all other threads may be blocked.

    On a deadlock it prints on stderr which thread holds what, and ends all waits.

    Attributes:
        report: the lines that it printed; empty without a deadlock.
        found_after_s: how long after its start it found a cycle.
    """

    def __init__(self, locks: Locks, interval_s: float = 0.05) -> None:
        """Check every `interval_s`."""
        self.report: list[str] = []
        self.found_after_s = float("inf")
        self._locks = locks
        self._interval_s = interval_s
        self._is_over = threading.Event()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        suspected: list[Wait] = []
        while not self._is_over.wait(self._interval_s):
            circle = find_circle(dict(self._locks.holders), dict(self._locks.wants))
            # While locks change hands, two reads may show a false cycle; a real one persists.
            if circle and circle == suspected:
                self.found_after_s = time.monotonic() - self._started
                self.report = tell(circle)
                sys.stderr.write("\n".join(self.report) + "\n")
                self._locks.is_broken.set()
                return
            suspected = circle


def tell(circle: list[Wait]) -> list[str]:
    """Describe a cycle for people: which thread holds what."""
    return [
        f"deadlock: {len(circle)} threads wait for each other",
        *(f"  {one.thread} wants {one.wants}, which {one.held_by} holds" for one in circle),
    ]
