"""The lab, end to end."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.harness.processes import first_to_go, resident_mib
from lab.__main__ import STOPPED
from lab.experiments import mistake_threads
from lab.locks import DeadlockError, Locks, Watchdog
from lab.yardstick import measure_in
from tests.support.processes import processes_mentioning
from tests.support.waiting import until

pytestmark = pytest.mark.integration
_ROOT = Path(__file__).parents[2]


@pytest.mark.alone  # the experiments measure times
@pytest.mark.timeout(180)
def test_experiments_run_and_are_reported(tmp_path: Path) -> None:
    """The experiments with misbehaving work show what they claim; docs/ is left alone."""
    pytest.importorskip("matplotlib")
    documents = {path: path.stat().st_mtime_ns for path in (_ROOT / "docs").iterdir()}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lab",
            "--quick",
            "--only",
            "deadline",
            "misdeeds",
            "leak",
            "hooks",
            "--output",
            str(tmp_path),
        ],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 experiments show what they claim" in done.stdout
    assert "NOT SEEN" not in done.stderr
    page = (tmp_path / "lab.html").read_text(encoding="utf-8")
    assert "<svg role=" in page
    assert (tmp_path / "lab-deadline.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
    assert {path: path.stat().st_mtime_ns for path in (_ROOT / "docs").iterdir()} == documents


def test_threads_that_wait_for_each_other_are_found_and_let_go(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The watchdog prints a real deadlock of two threads once, and both threads return."""
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
    assert capsys.readouterr().err.splitlines() == watchdog.report
    # The first to be let go gives its lock back, with which the other may go on.
    assert ended


def _start(folder: Path) -> subprocess.Popen[bytes]:
    """Start an experiment, as a terminal would, with its clusters in `folder`."""
    # A shell's background job ignores Ctrl-C, and so does what it starts; a handler is not
    # inherited.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "lab",
                "--quick",
                "--only",
                "misdeeds",
                "--output",
                str(folder / "out"),
            ],
            cwd=_ROOT,
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: a socket's, in a folder below, may have only 107 characters."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.mark.parametrize(
    ("number", "sign"),
    [
        (signal.SIGTERM, "hedgerow-bench-*/journal"),
        (signal.SIGINT, "hedgerow-bench-*/journal"),
        (signal.SIGTERM, "hedgerow-bench-*"),
    ],
    ids=["SIGTERM", "Ctrl-C", "SIGTERM at the start"],
)
async def test_a_lab_that_is_stopped_leaves_nothing(
    folder: Path, number: signal.Signals, sign: str
) -> None:
    """During an experiment, or while its cluster starts: no process and no folder is left."""
    pytest.importorskip("matplotlib")
    lab = _start(folder)
    try:
        await until(lambda: bool(list(folder.glob(sign))), what=f"there is {sign}")
        os.killpg(lab.pid, number)  # as a terminal and timeout(1) do
        assert lab.wait(30) == STOPPED
        assert processes_mentioning(str(folder)) == {}
        assert _names_in(folder) == []
    finally:
        lab.kill()
        lab.wait()


async def test_an_interpreter_tells_of_its_threads() -> None:
    """The program that a free-threaded Python is asked to run runs in this one, which has a GIL."""
    told = await measure_in(sys.executable, 2, 0.0)  # each thread computes once
    assert told.has_gil
    assert told.version == ".".join(map(str, sys.version_info[:3]))
    assert told.works_per_s > 0
    assert told.cores > 0


async def test_a_python_without_a_gil_is_looked_for_until_one_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Python that cannot run, or has a GIL after all, is skipped; None where none is left."""
    told = '{"cores": 3.5, "works_per_s": 90.0, "has_gil": false, "version": "3.13.9"}'
    first, second, third, *_ = mistake_threads.FREE_THREADED
    for name, does in (
        (first, "exit 127"),
        (second, f'exec {sys.executable} "$@"'),
        (third, f"echo '{told}'"),
    ):
        command = tmp_path / name
        command.write_text(f"#!/bin/sh\n{does}\n")
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(mistake_threads, "_SECONDS", 0.05)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = await mistake_threads.without_a_gil()
    assert found is not None
    assert found == (3.5, 90.0, False, "3.13.9")
    (tmp_path / third).unlink()
    assert await mistake_threads.without_a_gil() is None


def test_memory_is_what_the_kernel_counts() -> None:
    """Resident memory grows with what a process touches, and is 0 of a process that is gone."""
    before = resident_mib([os.getpid()])
    kept = os.urandom(64 * 2**20)
    assert 60 <= resident_mib([os.getpid()]) - before <= 68
    status = Path("/proc/self/status").read_text()
    (told_kib,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    assert resident_mib([os.getpid()]) == pytest.approx(int(told_kib) / 1024, abs=1)
    assert len(kept) == 64 * 2**20
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert resident_mib([gone.pid]) == 0


def test_the_kernel_takes_first_what_has_volunteered() -> None:
    """A small process that asks for it is before a large one; see proc_pid_oom_score_adj(5)."""
    with subprocess.Popen(["sleep", "60"]) as volunteer:
        try:
            Path(f"/proc/{volunteer.pid}/oom_score_adj").write_text("1000")
            assert first_to_go([os.getpid(), volunteer.pid]) == volunteer.pid
            assert first_to_go([volunteer.pid, os.getpid()]) == volunteer.pid
        finally:
            volunteer.kill()
