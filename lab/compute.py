"""CPU work in pure Python, for any interpreter: it imports only the standard library.

As a program (number of threads, seconds) it prints as JSON how many cores the threads keep busy,
how much they compute, and whether there is a GIL.
"""

import json
import sys
import threading
import time
from typing import NamedTuple

STEPS = 150_000


def compute(steps: int = STEPS) -> int:
    """CPU work that holds the GIL, if there is one; a step takes about 60 ns."""
    value = 1
    for _ in range(steps):
        value = (value * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
    return value


class Threads(NamedTuple):
    """The figures of threads that compute.

    Attributes:
        cores: how many they keep busy on average.
        works_per_s: tasks of `STEPS` steps a second.
        has_gil: whether the interpreter has a GIL.
        version: of the interpreter.
    """

    cores: float
    works_per_s: float
    has_gil: bool
    version: str


def measure_threads(num_threads: int, seconds: float) -> Threads:
    """Let threads compute for a while, each at least once, since they may begin after it."""
    until = time.perf_counter() + seconds
    done: list[int] = []

    def keep_computing() -> None:
        while True:
            compute()
            done.append(1)
            if time.perf_counter() >= until:
                break

    threads = [threading.Thread(target=keep_computing) for _ in range(num_threads)]
    started, used = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.perf_counter() - started
    return Threads(
        cores=(time.process_time() - used) / took_s,
        works_per_s=len(done) / took_s,
        has_gil=getattr(sys, "_is_gil_enabled", lambda: True)(),
        version=sys.version.split()[0],
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure_threads(int(sys.argv[1]), float(sys.argv[2]))._asdict()))
