"""Processes: their descendants, the CPU time and memory they use, and the cores they run on."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from hedgerow.gateway.local.processes import parent_death_guard
from hedgerow.shard_worker.executors.process_pool.core_use import process_cpu_s


def descendants(pid: int) -> list[int]:
    """The children of a process, and their children."""
    try:
        return [one.pid for one in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    """Send a signal to each of these processes that is still alive."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def start_tied(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one, however this one ends (see `parent_death_guard`)."""
    with Path(os.devnull).open("rb") as nothing:  # instead of a pipe, which Linux does not need
        tied = (sys.executable, "-I", "-S", str(parent_death_guard.__file__), str(os.getpid()))
        return subprocess.Popen(
            [*tied, str(nothing.fileno()), *command], pass_fds=(nothing.fileno(),), **options
        )


class Family:
    """A process that leads a session, and all its descendants.

    A process whose parent has died is no longer a descendant: it is recognised by its session, or
    because it was seen before.
    """

    def __init__(self, leader: int) -> None:
        """Follow the session that `leader` leads."""
        self._leader = leader
        self._seen: dict[int, object] = {}  # pid → which process of that number it is

    def pids(self) -> list[int]:
        """The processes that are alive, without zombies; the leader comes first if it is alive."""
        living = _living()
        self._seen = {
            pid: identity
            for pid, identity in self._seen.items()
            if pid in living and living[pid][2] == identity
        }
        for pid, (_, session, identity) in living.items():
            if self._leader in (pid, session):
                self._seen[pid] = identity
        is_growing = True
        while is_growing:
            children = {
                pid: identity
                for pid, (parent, _, identity) in living.items()
                if parent in self._seen and pid not in self._seen
            }
            self._seen.update(children)
            is_growing = bool(children)
        return sorted(self._seen, key=lambda pid: (pid != self._leader, pid))

    async def kill(self) -> None:
        """Kill all of them, and what they start meanwhile; returns when none is left."""
        while alive := self.pids():
            send(signal.SIGKILL, alive)
            await asyncio.sleep(0.01)


def _living() -> dict[int, tuple[int, int, object]]:
    """Every process by id: its parent, its session, and an identity that no later process has."""
    found: dict[int, tuple[int, int, object]] = {}
    for one in psutil.process_iter(["ppid", "status"]):
        with contextlib.suppress(ProcessLookupError):  # ended meanwhile
            if one.info["status"] not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                found[one.pid] = one.info["ppid"], os.getsid(one.pid), one
    return found


class CpuMeter:
    """The CPU time that each part has used since the meter was made.

    Measurements are as short as half a second, and psutil's figures have a resolution of 10 ms; a
    process's CPU clock counts nanoseconds.
    """

    def __init__(self, parts: Mapping[str, list[int]]) -> None:
        """Start to count.

        Args:
            parts: name → the processes of the part.
        """
        self._at_start = {name: {pid: _cpu_s(pid) for pid in pids} for name, pids in parts.items()}

    def used_s(self) -> dict[str, float]:
        """CPU seconds of each part since the start, without those of processes that have ended."""
        return {
            name: sum(max(0.0, _cpu_s(pid) - before) for pid, before in at_start.items())
            for name, at_start in self._at_start.items()
        }


def _cpu_s(pid: int) -> float:
    return process_cpu_s(pid) or 0.0


def num_wakeups(pids: Iterable[int]) -> int:
    """How often the threads of these processes have waited and been woken since they started.

    These are the voluntary context switches of the threads that are alive (proc(5)); psutil counts
    those of the first thread only.
    """
    total = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):  # ended meanwhile
                told = status.read_text().partition("\nvoluntary_ctxt_switches:")[2]
                total += int(told.split(maxsplit=1)[0])
    return total


def shared_bytes(pids: Iterable[int]) -> int:
    """Memory of processes; a page that several of them share counts once in the sum (PSS)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):  # ended meanwhile
            total += psutil.Process(pid).memory_full_info().pss
    return total


def resident_mib(pids: Iterable[int]) -> float:
    """Resident memory of processes, in MiB; shared pages count in each process that maps them."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss
    return total / 2**20


def first_to_go(pids: Iterable[int]) -> int:
    """The process that the kernel's out-of-memory killer would choose among these."""
    return max(pids, key=_oom_score)


def _oom_score(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/oom_score").read_text(encoding="ascii"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores of a measured cluster and those of its clients, by their numbers."""

    cluster: frozenset[int]
    clients: frozenset[int]

    @classmethod
    def part(cls, *, are_shared: bool) -> "Cores":
        """The last core for the clients, unless they share all cores or there is only one."""
        known = sorted(os.sched_getaffinity(0))
        if are_shared or len(known) < 2:
            return cls(frozenset(known), frozenset(known))
        return cls(frozenset(known[:-1]), frozenset(known[-1:]))
