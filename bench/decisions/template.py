"""`python -m bench.decisions.template`: `gateway up` with its template process and without.

For each start: the time from the command until the cluster is ready, the CPU that all its processes
have used until then, and 4 s later their memory (PSS: a page that several share counts once).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.harness.processes import descendants
from bench.harness.report import machine, median

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
                return ready_s, cpu_s, sum(map(_pss_mb, pids)), len(pids)
            finally:
                process.terminate()
                process.stdout.read()
                process.wait()


def _pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _cpu_s(pid: int) -> float:
    """CPU of a process and of its children that have ended, in s (proc(5): fields 14 to 17)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.decisions.template", description=__doc__)
    parser.add_argument("--starts", type=int, default=5, metavar="N", help="of each kind (5)")
    parser.add_argument("--up", default="", metavar="OPTIONS", help="of gateway up, in one text")
    arguments = parser.parse_args()
    starts, options = arguments.starts, arguments.up.split()
    found: dict[bool, list[tuple[float, float, float, int]]] = {True: [], False: []}
    for _ in range(starts):
        for is_with, its in found.items():
            its.append(_start(is_with, options))
    say = sys.stdout.write
    say(
        f"{machine()}; load average {os.getloadavg()[0]:.1f}; medians of {starts} starts in turns\n"
    )
    say("\n|  | ready, s | CPU, s | memory, MB | processes |\n| --- | --- | --- | --- | --- |\n")
    for is_with, its in found.items():
        ready_s, cpu_s, mb, number = (median(one[index] for one in its) for index in range(4))
        name = "template process" if is_with else "an interpreter each"
        say(f"| {name} | {ready_s:.2f} | {cpu_s:.2f} | {mb:,.0f} | {number:.0f} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
