"""A program that prints in what state it was started, or ends in some way.

python -m tests.integration.support.started WHAT
"""

import asyncio
import atexit
import gc
import json
import locale
import logging
import os
import random
import resource
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any


def facts() -> dict[str, Any]:
    """What a process finds when it starts, and what others see of it."""
    main = sys.modules["__main__"]
    streams: tuple[Any, ...] = (sys.stdin, sys.stdout, sys.stderr)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    shown = ("Name", "Umask", "Threads", "SigBlk", "SigIgn", "SigCgt")
    return {
        "argv": sys.argv,
        "orig_argv": sys.orig_argv,
        "command line": Path("/proc/self/cmdline").read_text(encoding="utf-8").rstrip("\0"),
        "path": sys.path,
        "flags": list(sys.flags),
        "main": [main.__name__, main.__package__, str(main.__file__), main.__spec__ is not None],
        "modules": sorted(name for name in sys.modules if name.startswith("tests")),
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "is leader": [os.getpid() == os.getsid(0), os.getpid() == os.getpgid(0)],
        "status": [line for line in status.splitlines() if line.startswith(shown)],
        "descriptors": [
            int(one.name)
            for one in Path("/proc/self/fd").iterdir()
            if one.exists()  # that of the listing is closed by now
        ],
        "limits": [
            resource.getrlimit(value)
            for name, value in sorted(vars(resource).items())
            if name.startswith("RLIMIT_")
        ],
        "streams": [
            [
                one.encoding,
                one.errors,
                one.newlines,
                one.line_buffering,
                one.write_through,
                one.isatty(),
                one.fileno(),
                type(one.buffer).__name__,
                one.mode,
            ]
            for one in streams
        ],
        "is standard": [
            one is also
            for one, also in zip(
                streams, (sys.__stdin__, sys.__stdout__, sys.__stderr__), strict=True
            )
        ],
        "input": sys.stdin.read(),
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "threads": threading.active_count(),
        "is main thread": threading.current_thread() is threading.main_thread(),
        "handlers": [str(one) for one in logging.getLogger().handlers],
        "level": logging.getLogger().level,
        "collects": [gc.isenabled(), gc.get_threshold()],
        "locale": locale.setlocale(locale.LC_ALL),
        "has loop": asyncio._get_running_loop() is not None,
        "nice": os.nice(0),
        "cores": sorted(os.sched_getaffinity(0)),
        "filters": [str(one) for one in warnings.filters if one[0] != "ignore"],
    }


def _end(what: str) -> None:
    atexit.register(print, "registered")
    match what:
        case "thread":

            def say() -> None:
                threading.main_thread().join()
                print("thread", flush=True)  # noqa: T201

            threading.Thread(target=say).start()
        case "error":
            raise RuntimeError("an error")
        case "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "text":
            sys.exit("a text")
        case "return":
            print("returned")  # noqa: T201
        case _:
            sys.exit(int(what))


if __name__ == "__main__":
    if sys.argv[1] == "facts":
        sys.stdout.write(json.dumps([facts(), random.random(), os.getpid(), os.getppid()]))
    else:
        _end(sys.argv[1])
