"""The CPU time of another process, read from outside."""

import sys
import time

_SCHED = 2  # in a clock's id: CPU time as the scheduler counts it, user and system together


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
