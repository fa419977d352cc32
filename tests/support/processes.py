"""What the system knows about processes (Linux): their state, parents and descriptors."""

import contextlib
import os
import signal
from pathlib import Path


def exists(pid: int) -> bool:
    """Whether there is such a process; one that has ended exists until it is reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and is not yet reaped does not."""
    try:
        return _stat(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return exists(pid) and not Path("/proc/self").exists()


def parent_of(pid: int) -> int:
    """The process that has started this one, or has taken it over."""
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    """State, parent, process group, session and more."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def session_members(leaders: set[int]) -> set[int]:
    """Every live process in the sessions that these processes lead (or led)."""
    members = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = _stat(int(folder.name))
            if int(fields[3]) in leaders and fields[0] != "Z":
                members.add(int(folder.name))
    return members


def count_fds() -> int:
    """Open descriptors of this process."""
    return len(list(Path("/dev/fd").iterdir()))


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
    """SIGKILL a process's descendants, the youngest first, as the end of a container does."""
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
