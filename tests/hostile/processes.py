"""The processes of a cluster as /proc shows them: parents, children and their memory."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.hostile.verdict import MB
from tests.support.processes import descendants_of

_KB = 1024


def tree(pid: int) -> list[int]:
    """A process and all that it has started."""
    return [pid, *descendants_of(pid)]


def memory_mb(pids: Iterable[int]) -> float:
    """Memory of processes together, in MB, each shared page counted once among its users (PSS)."""
    return sum(map(_pss_bytes, pids)) / MB


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):  # ended meanwhile
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * _KB
    return 0


def num_mappings(pid: int) -> int:
    """How many regions of memory a process has mapped; the kernel allows 65,530."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/maps").read_bytes().count(b"\n")
    return 0


def num_deleted_files(pid: int) -> int:
    """How many files a process holds, open or mapped, that no longer have a name."""
    found = set()
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
            if line.endswith(" (deleted)") and "/dev/" not in line and "memfd" not in line:
                found.add(line.split(maxsplit=5)[5])
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(link.readlink())
                if target.endswith(" (deleted)") and "/dev/" not in target:
                    found.add(target)
    return len(found)


def parts_of(pids: Mapping[str, int]) -> dict[str, list[int]]:
    """Part of a cluster → its processes."""
    return {name: tree(pid) for name, pid in pids.items()}
