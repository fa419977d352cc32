"""`python -m bench.decisions.template`: `gateway up` with its template process and without.

For each start: the time from the command until the cluster is ready, the CPU time that all its
processes have used by then, and their memory 4 s later (PSS: shared pages count once).
"""

import argparse
import subprocess
import sys
import tempfile
import time

import psutil

from bench.harness.processes import descendants, shared_bytes
from bench.harness.report import median, show
from bench.harness.rounds import turns

_WITHOUT = (
    "from hedgerow.gateway.local.processes.template import Template\n"
    "Template._start = classmethod(lambda *_: None)\n"
    "import runpy\n"
    "runpy.run_module('hedgerow.gateway.cli.main', run_name='__main__', alter_sys=True)\n"
)
_SETTLE_S = 4.0


def _start(is_with: bool, options: list[str]) -> tuple[float, float, float, int]:
    """Seconds until it is ready, CPU seconds, MB of memory, and the number of processes."""
    program = ("-m", "hedgerow.gateway.cli.main") if is_with else ("-c", _WITHOUT)
    with tempfile.TemporaryDirectory(prefix="hedgerow-template-") as folder:
        began_at = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, *program, "up", "--data", folder, "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if line.startswith("ready at "):
                        break
                else:
                    raise RuntimeError("gateway up has ended before it was ready")
                ready_s = time.perf_counter() - began_at
                pids = [process.pid, *descendants(process.pid)]
                cpu_s = sum(map(_cpu_s, pids))
                time.sleep(_SETTLE_S)
                pids = [process.pid, *descendants(process.pid)]
                return ready_s, cpu_s, shared_bytes(pids) / 2**20, len(pids)
            finally:
                process.terminate()
                process.stdout.read()
                process.wait()


def _cpu_s(pid: int) -> float:
    """CPU time of a process and of its children that have ended, in s."""
    used_s: float = sum(psutil.Process(pid).cpu_times()[:4])
    return used_s


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.decisions.template", description=__doc__)
    parser.add_argument("--starts", type=int, default=5, metavar="N", help="of each kind (5)")
    parser.add_argument("--up", default="", metavar="OPTIONS", help="of gateway up, in one text")
    arguments = parser.parse_args()
    kinds = {"template process": True, "an interpreter each": False}
    found: dict[str, list[tuple[float, float, float, int]]] = {name: [] for name in kinds}
    for _, (name, is_with) in turns(kinds.items(), arguments.starts):
        found[name].append(_start(is_with, arguments.up.split()))
    rows = []
    for name, its in found.items():
        ready_s, cpu_s, mb, number = (median(one[index] for one in its) for index in range(4))
        rows.append((name, f"{ready_s:.2f}", f"{cpu_s:.2f}", f"{mb:,.0f}", f"{number:.0f}"))
    show(
        f"medians of {arguments.starts} starts in turns",
        ("", "ready, s", "CPU, s", "memory, MB", "processes"),
        rows,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
