"""What processes take of the machine's memory, as the kernel counts it (Linux, proc(5))."""

import os
from collections.abc import Iterable
from pathlib import Path

_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


def resident_mib(pids: Iterable[int]) -> float:
    """Resident memory of processes, in MiB; what they share counts in each; 0 of those gone."""
    return sum(int(_read(pid, "statm", "0 0").split()[1]) for pid in pids) * _PAGE_MIB


def first_to_go(pids: Iterable[int]) -> int:
    """The process that the kernel's out-of-memory killer would choose among these."""
    return max(pids, key=lambda pid: int(_read(pid, "oom_score", "0")))


def _read(pid: int, name: str, otherwise: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return otherwise
