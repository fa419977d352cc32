"""The CPU time of another process, read from outside."""

import sys
import time

_SCHED = 2  # in a clock's id: the time that the scheduler has given, user and system together


def process_cpu_s(pid: int) -> float | None:
    """CPU time that a process of this machine has used by now, by all of its threads, in s.

    In ns, where /proc/PID/stat has hundredths of a second. The clock of a process has its pid in
    its id (clock_getcpuclockid(3), which Python does not offer, returns no other).

    Returns:
        None where the system does not tell, or there is no such process.
    """
    if sys.platform != "linux" or pid <= 0:
        return None
    try:
        return time.clock_gettime((~pid << 3) | _SCHED)
    except OSError:
        return None
