"""What another process has had of the cores, read from outside."""

import sys
import time
from pathlib import Path
from typing import NamedTuple

_SCHED = 2  # in a clock's id: CPU time as the scheduler counts it, user and system together


class CoreUse(NamedTuple):
    """What a process has had of the cores by now.

    Attributes:
        cpu_s: CPU time that all of its threads have used.
        waited_s: for how long its main thread could have run and had no core, until it last got
            one.
        wants_core: whether its main thread runs, or could if it had a core; otherwise it sleeps, is
            stopped, or waits for a disk.
    """

    cpu_s: float
    waited_s: float
    wants_core: bool


def core_use(pid: int) -> CoreUse | None:
    """What a process of this machine has had of the cores.

    See proc_pid_stat(5), and sched-stats in the kernel's documentation.

    Returns:
        None if the system does not report it, or there is no such process.
    """
    cpu_s = process_cpu_s(pid)
    if cpu_s is None:
        return None
    try:
        # A field of the first file is the program's name, which may contain anything.
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1]
        _, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_bytes().split()
    except (OSError, ValueError):
        return None
    return CoreUse(cpu_s, int(waited_ns) / 1e9, state == b"R")


def process_cpu_s(pid: int) -> float | None:
    """CPU time that all threads of a process of this machine have used by now, in s.

    With a resolution of ns; that of /proc/PID/stat is 10 ms. The id of a process's clock is made of
    its pid, as by clock_getcpuclockid(3), which Python does not have.

    Returns:
        None if the system does not report it, or there is no such process.
    """
    if sys.platform != "linux" or pid <= 0:
        return None
    try:
        return time.clock_gettime((~pid << 3) | _SCHED)
    except OSError:
        return None
