"""Processes: what has come from one, what they have used, what they take, and where they run."""

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

from hedgerow.gateway.local.processes import parent_death_guard as tether
from hedgerow.shard_worker.executors.process_pool.cpu_time import process_cpu_s


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    try:
        return [one.pid for one in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    """Send a signal to each of these processes that still lives."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def start_tied(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one, however this one ends (see `parent_death_guard`)."""
    with Path(os.devnull).open("rb") as nothing:  # in the place of a pipe, which Linux needs not
        tied = (sys.executable, "-I", "-S", str(tether.__file__), str(os.getpid()))
        return subprocess.Popen(
            [*tied, str(nothing.fileno()), *command], pass_fds=(nothing.fileno(),), **options
        )


class Family:
    """A process that leads a session, and whatever has come from it.

    A process whose parent has died is no longer a descendant: it is known by its session, or by
    having been seen before.
    """

    def __init__(self, leader: int) -> None:
        """Follow the session that `leader` leads."""
        self._leader = leader
        self._seen: dict[int, object] = {}  # pid → which process of that number it is

    def pids(self) -> list[int]:
        """Those that live now, zombies left out; the leader is first while it lives."""
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
        """Kill those that live, and what they start meanwhile; returns when there is none."""
        while alive := self.pids():
            send(signal.SIGKILL, alive)
            await asyncio.sleep(0.01)


def _living() -> dict[int, tuple[int, int, object]]:
    """Every process by its number: its parent, its session, and what tells it from a later one."""
    found: dict[int, tuple[int, int, object]] = {}
    for one in psutil.process_iter(["ppid", "status"]):
        with contextlib.suppress(ProcessLookupError):  # ended meanwhile
            if one.info["status"] not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                found[one.pid] = one.info["ppid"], os.getsid(one.pid), one
    return found


class CpuMeter:
    """What each part has used since the meter was made.

    Measurements are as short as half a second: psutil tells hundredths of one, the clock of a
    process tells nanoseconds.
    """

    def __init__(self, parts: Mapping[str, list[int]]) -> None:
        """Start to count.

        Args:
            parts: name → the processes that make it up.
        """
        self._at_start = {name: {pid: _cpu_s(pid) for pid in pids} for name, pids in parts.items()}

    def used_s(self) -> dict[str, float]:
        """CPU seconds of each part since the start; those of a process that is gone are lost."""
        return {
            name: sum(max(0.0, _cpu_s(pid) - before) for pid, before in at_start.items())
            for name, at_start in self._at_start.items()
        }


def _cpu_s(pid: int) -> float:
    return process_cpu_s(pid) or 0.0


def num_wakeups(pids: Iterable[int]) -> int:
    """How often the threads of these processes, those that live now, have waited and been woken.

    By their voluntary context switches, since each was started (proc(5)); psutil tells those of
    the first thread alone.
    """
    total = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):  # ended meanwhile
                told = status.read_text().partition("\nvoluntary_ctxt_switches:")[2]
                total += int(told.split(maxsplit=1)[0])
    return total


def shared_bytes(pids: Iterable[int]) -> int:
    """Memory of processes, each page that several share counted once among them all (PSS)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):  # ended meanwhile
            total += psutil.Process(pid).memory_full_info().pss
    return total


def resident_mib(pids: Iterable[int]) -> float:
    """Resident memory of processes, in MiB; what they share counts in each; 0 of those gone."""
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
    """Which cores a measured cluster has, and which its clients, by their numbers."""

    cluster: frozenset[int]
    clients: frozenset[int]

    @classmethod
    def part(cls, *, are_shared: bool) -> "Cores":
        """The last core for the clients, unless they share all, or there is but one."""
        known = sorted(os.sched_getaffinity(0))
        if are_shared or len(known) < 2:
            return cls(frozenset(known), frozenset(known))
        return cls(frozenset(known[:-1]), frozenset(known[-1:]))
