"""The memory of another process, read from outside."""

import sys
from pathlib import Path

_BYTES_PER_MB = 1e6
_PARTS = (b"RssAnon", b"VmSwap")


def own_memory_mb(pid: int) -> float | None:
    """A process's own memory, in MB, which is freed when it ends.

    That is its anonymous pages, resident or swapped out. Pages of files do not count: those of the
    index are shared by all processes that map it, and the kernel drops them when it needs memory.
    Pages that were inherited at a fork count, even while they are still shared.

    Read from /proc/PID/status, which takes 16 µs. /proc/PID/smaps_rollup is exact, but walks the
    page tables, which takes 3.5 ms for half a GB.

    Returns:
        None if the system does not report it, or there is no such process.
    """
    if sys.platform != "linux" or pid <= 0:
        return None
    try:
        return parse_status(Path(f"/proc/{pid}/status").read_bytes())
    except OSError:
        return None


def parse_status(status: bytes) -> float | None:
    """The same, from the text of /proc/PID/status; its kB are KiB (proc_pid_status(5))."""
    fields = {}
    for line in status.splitlines():
        name, _, value = line.partition(b":")
        fields[name] = value
    if any(part not in fields for part in _PARTS):  # a zombie's, or a sandbox's own /proc
        return None
    return sum(int(fields[part].split()[0]) for part in _PARTS) * 1024 / _BYTES_PER_MB
