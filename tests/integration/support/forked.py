"""Programs that a template process runs in forks, or an interpreter from a command line."""

import atexit
import ctypes
import json
import os
import sys
import threading
from pathlib import Path

MODULE = "tests.integration.support.forked"
_MANY_THREADS = 32


def run_with(what: str, how: str = "", pipe: int = -1) -> None:
    """Be one of the programs."""
    match what:
        case "tell":
            _tell(pipe)
        case "exit":
            _exit(how)
        case "wait":
            _say("waits")
            os.read(pipe, 1)
        case "linger":
            atexit.register(_say, "the handler")
            threading.Thread(target=_linger).start()
            _say("the end")
        case "allocate":
            _allocate()
        case _:
            raise ValueError(what)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _tell(pipe: int) -> None:
    """Print pid and kind of this process; end when the parent pipe reads EOF."""
    facts = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "umask": os.umask(0o077),
        "environment": dict(os.environ),
        "module": sys.argv[0],
        "descriptors": sorted(
            int(one.name)
            for one in Path("/proc/self/fd").iterdir()
            if one.exists()  # that of the listing is closed by now
        ),
        "pipe": pipe,
        "input": sys.stdin.read(),
        "name": Path("/proc/self/comm").read_text().strip(),
        "threads": threading.active_count(),
    }
    _say(json.dumps(facts))
    os.read(pipe, 1)


def _exit(how: str) -> None:
    """End as told: with a status, with a message, or by an error."""
    if how == "error":
        raise RuntimeError("a program's error")
    sys.exit(int(how) if how.isdigit() else how)


def _linger() -> None:
    threading.main_thread().join(1.0)  # until it has said the end, or waits for this thread
    _say("the thread")


def _allocate() -> None:
    """Have threads allocate at the same time, and print every arena of the allocator."""
    libc = ctypes.CDLL(None)
    together = threading.Barrier(_MANY_THREADS)

    def allocate() -> None:
        together.wait()
        for _ in range(100):
            libc.malloc(1000)
        together.wait()

    threads = [threading.Thread(target=allocate) for _ in range(_MANY_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
    libc.fflush(None)


if __name__ == "__main__":
    run_with(sys.argv[1], sys.argv[2], int(sys.argv[3]))
