"""`python -m bench.decisions.memory`: the memory of an empty cluster, page by page (as root).

It starts `gateway up`, waits, and counts each physical page that a process of the cluster maps once
(/proc/PID/pagemap). A page is a process's own if no other process of the cluster maps it.
"""

import argparse
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.harness.processes import descendants
from bench.harness.report import show

_PAGE_BYTES = 4096
_ENTRY = struct.Struct("=Q")
_IS_PRESENT = 1 << 63
_FRAME = (1 << 55) - 1
_MB = 2**20 / _PAGE_BYTES


def _frames(pid: int) -> Iterator[int]:
    """The numbers of the physical pages that a process maps."""
    lines = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
    with Path(f"/proc/{pid}/pagemap").open("rb", 0) as pagemap:
        for line in lines:
            if line.endswith(("[vsyscall]", "[vvar]", "[vvar_vclock]")):
                continue
            begin, end = (int(part, 16) for part in line.split(None, 1)[0].split("-"))
            pagemap.seek(begin // _PAGE_BYTES * _ENTRY.size)
            entries = pagemap.read((end - begin) // _PAGE_BYTES * _ENTRY.size)
            for (entry,) in _ENTRY.iter_unpack(entries):
                if entry & _IS_PRESENT:
                    yield entry & _FRAME


def _measure(options: list[str], settle_s: float) -> tuple[float, dict[str, list[float]]]:
    """MB of a cluster, and those of their own of its processes, by name."""
    program = [sys.executable, "-m", "hedgerow.gateway.cli.main", "up", "--port", "0"]
    with (
        tempfile.TemporaryDirectory(prefix="hedgerow-memory-") as folder,
        subprocess.Popen(
            [*program, "--data", folder, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            if not any(line.startswith("ready at ") for line in process.stdout):
                raise RuntimeError("gateway up has ended before it was ready")
            time.sleep(settle_s)
            pids = [process.pid, *descendants(process.pid)]
            mapped = {pid: set(_frames(pid)) for pid in pids}
            names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids}
        finally:
            process.terminate()
            process.stdout.read()
    times = Counter(frame for frames in mapped.values() for frame in frames)
    own: dict[str, list[float]] = {}
    for pid, frames in mapped.items():
        mb = sum(times[frame] == 1 for frame in frames) / _MB
        own.setdefault("gateway up" if pid == pids[0] else names[pid], []).append(mb)
    return len(times) / _MB, own


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.decisions.memory", description=__doc__)
    parser.add_argument("--starts", type=int, default=2, metavar="N", help="how many (2)")
    parser.add_argument("--settle", type=float, default=15, metavar="S", help="wait before (15 s)")
    parser.add_argument(
        "--up", default="--shards 1 --workers 1", metavar="OPTIONS", help="of gateway up"
    )
    arguments = parser.parse_args()
    totals = []
    for _ in range(arguments.starts):
        total, own = _measure(arguments.up.split(), arguments.settle)
        totals.append(total)
    rows = [(name, f"{len(its)}", f"{sum(its) / len(its):.1f}") for name, its in own.items()]
    shared = totals[-1] - sum(sum(its) for its in own.values())
    rows.append(("what processes share", "", f"{shared:.1f}"))
    rows.append(("all", "", f"{totals[-1]:.1f}"))
    show(
        f"gateway up {arguments.up}; in all {', '.join(f'{one:.1f}' for one in totals)} MB; "
        "the table is of the last start",
        ("process", "how many", "MB of its own, each"),
        rows,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
