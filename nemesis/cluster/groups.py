"""Control groups: how much memory a process may use, and how fast it may write to a disk."""

import contextlib
import os

from nemesis.abilities import (
    BLOCK_GROUPS,
    MEMORY_GROUPS,
    UNIFIED_GROUPS,
    has_block_groups,
    has_memory_groups,
)


class Groups:
    """The groups of one process of the cluster and of what it starts.

    With control groups of version 1, there is one for memory and one for disks; with version 2, one
    for both.
    """

    def __init__(self, name: str, *, with_memory: bool, with_disks: bool) -> None:
        """Create them for the process `name` of this run."""
        own = f"hedgerow-nemesis-{os.getpid()}-{name}"
        self._memory = (MEMORY_GROUPS if has_memory_groups() else UNIFIED_GROUPS) / own
        self._disks = (BLOCK_GROUPS if has_block_groups() else UNIFIED_GROUPS) / own
        wanted = [(self._memory, with_memory), (self._disks, with_disks)]
        self._folders = list(dict.fromkeys(folder for folder, is_wanted in wanted if is_wanted))
        for folder in self._folders:
            folder.mkdir(exist_ok=True)

    def enter(self) -> list[str]:
        """The beginning of a command that runs in them."""
        if not self._folders:
            return []
        files = " ".join(f"{folder}/cgroup.procs" for folder in self._folders)
        return ["sh", "-c", f'for f in {files}; do echo $$ >"$f"; done; exec "$@"', "sh"]

    def used_mb(self) -> float:
        """Memory in use, with the pages of files."""
        name = "memory.usage_in_bytes" if has_memory_groups() else "memory.current"
        return int((self._memory / name).read_text()) / 1e6

    def limit_memory(self, most_mb: float | None) -> None:
        """Allow this much memory; None for no limit."""
        name = "memory.limit_in_bytes" if has_memory_groups() else "memory.max"
        none = "-1" if has_memory_groups() else "max"
        text = none if most_mb is None else str(int(most_mb * 1e6))
        (self._memory / name).write_text(text)

    def num_killed(self) -> int:
        """How many processes the kernel has killed because of the limit."""
        name = "memory.oom_control" if has_memory_groups() else "memory.events"
        for line in (self._memory / name).read_text().splitlines():
            what, _, count = line.partition(" ")
            if what == "oom_kill":
                return int(count)
        return 0

    def limit_writes(self, device: str, most_bytes_s: int | None) -> None:
        """Allow this many bytes/s to a device (`7:0`); None for no limit."""
        if has_block_groups():
            file, text = "blkio.throttle.write_bps_device", f"{device} {most_bytes_s or 0}"
        else:
            file, text = "io.max", f"{device} wbps={most_bytes_s or 'max'}"
        (self._disks / file).write_text(text)

    def close(self) -> None:
        """Remove them; their processes must have ended."""
        for folder in self._folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
