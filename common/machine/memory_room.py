"""How much memory this process and others may still take: of the machine, and of control groups.

What a control group (a container) has left says nothing of the machine, nor the other way round:
the kernel kills a process of the group that is full, however much the machine has.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from hedgerow.common.machine.disk import MB

_LEAST_SHARE: Final = 0.03
_LEAST_BYTES: Final = 64 * MB  # a process that indexes or scores may take that whatever it works on
_MEMINFO: Final = Path("/proc/meminfo")
_CGROUPS: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")
# Files that the kernel drops when memory is needed; what is in /dev/shm is not among these.
_RECLAIMABLE: Final = frozenset({"inactive_file", "active_file"})


class MemoryRoom(NamedTuple):
    """Memory of a machine or of a control group, in bytes.

    Attributes:
        available: how much can still be taken.
        total: how much there is; 0 if that is not known.
    """

    available: float
    total: float


def has_memory(rooms: Iterable[MemoryRoom]) -> bool:
    """Whether there is memory to spare, of the machine and of each control group.

    If there is not, a process may have been killed that had taken no more than it always does.
    """
    return all(room.available >= max(room.total * _LEAST_SHARE, _LEAST_BYTES) for room in rooms)


def memory_rooms() -> Iterator[MemoryRoom]:
    """The room of the machine, and of each control group that bounds this process.

    Nothing where it cannot be read, as on systems other than Linux.
    """
    try:
        yield room_of_machine(_MEMINFO.read_text())
        membership = _MEMBERSHIP.read_text()
    except OSError:
        return
    yield from rooms_of_groups(_CGROUPS, membership)


def room_of_machine(meminfo: str) -> MemoryRoom:
    """Read the text of /proc/meminfo; what it does not say counts as plenty."""
    figures = {}
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()
        if number and number[0].isdigit():
            figures[name] = int(number[0]) * 1024
    return MemoryRoom(figures.get("MemAvailable", math.inf), figures.get("MemTotal", 0))


def rooms_of_groups(root: Path, membership: str) -> Iterator[MemoryRoom]:
    """Read the control groups with a limit.

    Args:
        root: where control groups are mounted.
        membership: the text of /proc/PID/cgroup (cgroups(7)).
    """
    for line in membership.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            mount, names = root, ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            mount = root / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        group = mount / path.lstrip("/")
        # A limit bounds all groups below it. In a container, the path may be the host's, and only
        # the mount itself exists.
        for folder in (group, *group.parents):
            if folder.is_relative_to(mount):
                yield from _room_of(folder, *names)


def _room_of(group: Path, limit: str, usage: str, prefix: str) -> Iterator[MemoryRoom]:
    try:
        most = (group / limit).read_text().strip()
        used = int((group / usage).read_text())
        stat = (group / "memory.stat").read_text()
    except (OSError, ValueError):
        return
    if most.isdigit():  # not "max"; version 1 has a number for it that no machine reaches
        pairs = (line.split() for line in stat.splitlines())
        files = sum(
            int(pair[1])
            for pair in pairs
            if len(pair) == 2
            and pair[0].removeprefix(prefix) in _RECLAIMABLE
            and pair[0].startswith(prefix)
        )
        yield MemoryRoom(int(most) - used + files, int(most))
