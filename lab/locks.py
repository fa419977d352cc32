"""Locks that know who holds them, and a watchdog that sees when nobody can go on."""

import sys
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple, Self


class Wait(NamedTuple):
    """A thread that waits: for which lock, and who holds it."""

    thread: str
    wants: str
    held_by: str


class DeadlockError(RuntimeError):
    """Raised in threads that wait for each other, once the watchdog has said so."""


def find_circle(holders: Mapping[str, str], wants: Mapping[str, str]) -> list[Wait]:
    """Threads that wait for each other in a circle; pure.

    Args:
        holders: lock → the thread that holds it.
        wants: thread → the lock that it waits for.

    Returns:
        The circle from any of its threads on; [] when somebody can go on.
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
    """Locks by name, and what threads hold and want of them."""

    def __init__(self) -> None:
        """Start with none."""
        self.holders: dict[str, str] = {}
        self.wants: dict[str, str] = {}
        self.is_broken = threading.Event()
        self._locks: dict[str, threading.Lock] = {}
        self._making = threading.Lock()

    def take(self, name: str, poll_s: float = 0.02) -> None:
        """Take a lock, however long it takes.

        Raises:
            DeadlockError: the watchdog has ended all waits.
        """
        with self._making:
            lock = self._locks.setdefault(name, threading.Lock())
        me = threading.current_thread().name
        self.wants[me] = name
        try:
            # A wait that nothing ends would keep its thread for ever, and the lab needs it again.
            while not lock.acquire(timeout=poll_s):
                if self.is_broken.is_set():
                    raise DeadlockError(f"{me} waits for {name} in vain")
            self.holders[name] = me
        finally:
            del self.wants[me]

    def give(self, name: str) -> None:
        """Let go of a lock that this thread holds."""
        del self.holders[name]
        self._locks[name].release()


class Watchdog:
    """Looks at the locks from a thread of its own, since all others may stand still.

    Once nobody can go on it prints who holds what, on stderr, and ends all waits.

    Attributes:
        report: what it printed, line by line; empty as long as all is well.
        found_after_s: how long after its start it saw a circle.
    """

    def __init__(self, locks: Locks, interval_s: float = 0.05) -> None:
        """Look every `interval_s`."""
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
            # Two looks at things that move may see a circle where none is; one that stays is one.
            if circle and circle == suspected:
                self.found_after_s = time.monotonic() - self._started
                self.report = tell(circle)
                sys.stderr.write("\n".join(self.report) + "\n")
                self._locks.is_broken.set()
                return
            suspected = circle


def tell(circle: list[Wait]) -> list[str]:
    """A circle for people: who holds what."""
    return [
        f"deadlock: {len(circle)} threads wait for each other",
        *(f"  {one.thread} wants {one.wants}, which {one.held_by} holds" for one in circle),
    ]
