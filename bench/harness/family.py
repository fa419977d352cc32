"""All processes that come from one, also when what started them has ended."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path


class Family:
    """A process that leads a session, and whatever has come from it.

    A process whose parent has died is nobody's descendant any more: it is known by its session, or
    by having been seen before. A process is told from a later one of the same number by its start.
    """

    def __init__(self, leader: int) -> None:
        """Follow the session that `leader` leads."""
        self._leader = leader
        self._seen: dict[int, str] = {}  # pid → when it was started

    def pids(self) -> list[int]:
        """Those that live now, zombies left out; the leader is first while it lives."""
        living = _living()
        self._seen = {
            pid: started
            for pid, started in self._seen.items()
            if pid in living and living[pid][2] == started
        }
        for pid, (_, session, started) in living.items():
            if self._leader in (pid, session):
                self._seen[pid] = started
        is_growing = True
        while is_growing:
            children = {
                pid: started
                for pid, (parent, _, started) in living.items()
                if parent in self._seen and pid not in self._seen
            }
            self._seen.update(children)
            is_growing = bool(children)
        return sorted(self._seen, key=lambda pid: (pid != self._leader, pid))

    async def kill(self) -> None:
        """Kill those that live, and what they start meanwhile; returns when there is none."""
        while alive := self.pids():
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.01)


def _living() -> dict[int, tuple[int, int, str]]:
    """Every process: its parent, its session, and when it was started, in ticks since boot."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold spaces: what counts stands behind it.
            state, parent, _, session, *rest = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if state not in "ZX":
            found[int(stat.parent.name)] = int(parent), int(session), rest[15]
    return found
