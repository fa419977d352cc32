"""The lab, end to end."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lab.locks import DeadlockError, Locks, Watchdog
from lab.yardstick import measure_in

pytestmark = pytest.mark.integration
_ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(120)
def test_an_experiment_runs_and_is_reported(tmp_path: Path) -> None:
    """One experiment on a cluster of its own shows what it claims; docs/ is left alone."""
    pytest.importorskip("matplotlib")
    documents = {path: path.stat().st_mtime_ns for path in (_ROOT / "docs").iterdir()}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lab", "--quick", "--only", "deadline"),
            *("--output", str(tmp_path)),
        ],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 experiments show what they claim" in done.stdout
    assert "NOT SEEN" not in done.stderr
    page = (tmp_path / "lab.html").read_text(encoding="utf-8")
    assert "<svg role=" in page
    assert (tmp_path / "lab-deadline.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
    assert {path: path.stat().st_mtime_ns for path in (_ROOT / "docs").iterdir()} == documents


def test_threads_that_wait_for_each_other_are_found_and_let_go() -> None:
    """A real deadlock of two threads is reported by the watchdog, and both threads return."""
    locks, both_hold = Locks(), threading.Barrier(2)
    ended: list[str] = []

    def take(first: str, second: str) -> None:
        locks.take(first)
        both_hold.wait()
        try:
            locks.take(second)
        except DeadlockError:
            ended.append(first)
        finally:
            locks.give(first)

    threads = [
        threading.Thread(target=take, args=pair, name=f"from {pair[0]}")
        for pair in (("a", "b"), ("b", "a"))
    ]
    with Watchdog(locks, interval_s=0.01) as watchdog:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert len(watchdog.report) == 3
    assert "  from a wants b, which from b holds" in watchdog.report
    # The first to be let go gives its lock back, with which the other may go on.
    assert ended


async def test_an_interpreter_tells_of_its_threads() -> None:
    """The program that a free-threaded Python is asked to run runs in this one, which has a GIL."""
    told = await measure_in(sys.executable, 2, 0.05)
    assert told["has_gil"]
    assert told["version"] == ".".join(map(str, sys.version_info[:3]))
    assert told["works_per_s"] > 0
    assert told["cores"] > 0
