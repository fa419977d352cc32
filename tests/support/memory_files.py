"""Temporary files in memory: tests sync files thousands of times, and a disk takes its time."""

import os
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")
_NEEDED_BYTES = 4 << 30  # several times what the tests use


def keep_temporary_files_in_memory() -> None:
    """Have this process, and those that it starts, make temporary files in memory.

    Nothing changes where `TMPDIR` is set, where there is little room (a container usually has 64 MB
    there), and where no program in that file system may be executed.
    """
    if "TMPDIR" not in os.environ and _MEMORY.is_mount() and _has_room():
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None  # is looked up again


def _has_room() -> bool:
    disk = os.statvfs(_MEMORY)
    if disk.f_flag & (os.ST_NOEXEC | os.ST_RDONLY) or not os.access(_MEMORY, os.W_OK):
        return False
    return min(disk.f_bavail * disk.f_frsize, _available_bytes()) >= _NEEDED_BYTES


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
