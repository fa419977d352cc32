"""Waiting for real processes, with a bound."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


async def eventually(holds: Callable[[], bool], what: str, timeout_s: float = 15.0) -> None:
    """Wait until `holds()`; fail, naming `what`, when it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"within {timeout_s} s: {what}"
        await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and is not yet reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return not Path("/proc/self").exists()
    return state != "Z"


def processes_mentioning(text: str) -> dict[int, str]:
    """Process id → command line, of every process whose command line contains `text`."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text in line and int(folder.name) != os.getpid() and is_alive(int(folder.name)):
            found[int(folder.name)] = line
    return found


def kill_all_of(pid: int) -> None:
    """SIGKILL what a process has started, the youngest first, as the end of a container does."""
    for child in reversed(descendants_of(pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def descendants_of(pid: int) -> list[int]:
    """The processes that this one has started, and those that they have, parents first (Linux)."""
    children = children_of(pid)
    return [*children, *(one for child in children for one in descendants_of(child))]


def children_of(pid: int) -> list[int]:
    """The processes that this one has started (Linux)."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return found
