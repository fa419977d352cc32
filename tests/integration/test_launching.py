"""Tests that what the launch pad forks is as a process that is started by exec."""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import launching
from tests.support.forked_processes import AsyncForkedProcess, ForkedProcess, LaunchPad
from tests.support.launching import launch, launch_and_wait, launch_async
from tests.support.processes import count_fds, processes_mentioning

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="the launch pad is for Linux"),
]

MODULE = "tests.integration.support.started"
STARTED = [sys.executable, "-m", MODULE]
WAITING = [sys.executable, "-c", "import time; print('waits', flush=True); time.sleep(600)"]


@pytest.fixture(autouse=True)
def _is_forking() -> None:
    assert launching._pad is not None


def started(
    *arguments: str, by_exec: bool, module: str = MODULE, **options: Any
) -> tuple[int, str, str]:
    """Run the program to its end; returns its code and what it has written."""
    # A shell's background job ignores Ctrl-C, and so does what it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = launch(
        [sys.executable, "-m", module, *arguments],
        by_exec=by_exec,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    signal.signal(signal.SIGINT, before)
    assert isinstance(process, subprocess.Popen if by_exec else ForkedProcess)
    out, err = process.communicate()
    assert process.returncode is not None
    return process.returncode, out, err


@pytest.mark.parametrize("is_leader", [False, True])
def test_a_fork_finds_what_an_interpreter_finds(tmp_path: Path, *, is_leader: bool) -> None:
    """All that a process can see of itself is the same, except for its ids and its luck."""
    shutil.copy(Path(__file__).parent / "support" / "started.py", tmp_path / "program.py")
    told = []
    with (
        contextlib.ExitStack() as afterwards,
        socket.socket() as passed,
        (tmp_path / "input").open("w+") as standard_input,
    ):
        afterwards.callback(os.umask, os.umask(0o027))
        for by_exec in (True, False):
            standard_input.seek(0)
            standard_input.write("a line")
            standard_input.seek(0)
            code, out, err = started(
                "facts",
                by_exec=by_exec,
                stdin=standard_input,
                env={**os.environ, "HEDGEROW_URL": "grün", "COLUMNS": "70"},
                module="program",
                cwd=tmp_path,
                start_new_session=is_leader,
                pass_fds=[passed.fileno()],
                limits={resource.RLIMIT_NOFILE: (500, 600)},
            )
            assert (code, err) == (0, "")
            told.append(json.loads(out))
    (interpreter, *its), (fork, *own) = told
    assert fork == interpreter
    assert not set(its[:2]) & set(own[:2])


@pytest.mark.parametrize(
    "how", ["0", "3", "text", "return", "error", "thread", "interrupt", "kill"]
)
def test_a_fork_ends_as_an_interpreter_ends(how: str) -> None:
    """Exit code or signal, output and last line of errors are the same, whatever ends it."""
    ends = [started(how, by_exec=by_exec) for by_exec in (True, False)]
    (code, out, err), fork = ends
    assert fork[:2] == (code, out)
    assert fork[2].splitlines()[-1:] == err.splitlines()[-1:]


async def test_a_process_is_stopped_and_found(tmp_path: Path) -> None:
    """Signals reach it, its end is noticed, nothing stays open; in tests that block and others."""
    num_descriptors = count_fds()
    process = launch([*WAITING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert isinstance(process, ForkedProcess)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "waits\n"
    assert process.pid in processes_mentioning(str(tmp_path))
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.terminate()
    assert process.wait(60) == process.poll() == -signal.SIGTERM
    process.kill()  # does nothing any more

    other = await launch_async(*WAITING, stdout=subprocess.PIPE)
    assert isinstance(other, AsyncForkedProcess)
    assert other.stdout is not None
    assert await other.stdout.readline() == b"waits\n"
    assert other.returncode is None
    other.kill()
    assert await other.wait() == other.returncode == -signal.SIGKILL
    assert await other.stdout.read() == b""
    await asyncio.sleep(0)  # the loop closes the pipe
    assert count_fds() == num_descriptors


def test_the_end_of_a_process_is_waited_for(tmp_path: Path) -> None:
    """Its exit code and its output are returned; one that takes too long is killed."""
    done = launch_and_wait([sys.executable, "-c", "import sys; print('said'); sys.exit('why')"])
    assert (done.returncode, done.stdout, done.stderr) == (1, "said\n", "why\n")
    with pytest.raises(subprocess.TimeoutExpired):
        launch_and_wait([*WAITING, str(tmp_path)], timeout_s=0.1)
    assert processes_mentioning(str(tmp_path)) == {}


def test_what_an_interpreter_reads_is_left_to_one() -> None:
    """Variables of Python, the system or a library keep a start from being a fork."""
    for name in ("PYTHONDEVMODE", "MALLOC_ARENA_MAX", "TZ", "ANYTHING"):
        process = launch([*STARTED, "0"], env={**os.environ, name: "1"}, stderr=subprocess.DEVNULL)
        assert isinstance(process, subprocess.Popen)
        assert process.wait(60) == 0


@pytest.fixture
def lost_pad(monkeypatch: pytest.MonkeyPatch) -> Iterator[LaunchPad]:
    """A launch pad of this test's own."""
    pad = LaunchPad()
    monkeypatch.setattr(launching, "_pad", pad)
    yield pad
    pad.close()


def test_a_lost_launch_pad_is_replaced_by_exec(lost_pad: LaunchPad) -> None:
    """What it has forked lives on; what is started later is started by exec."""
    process = launch(WAITING, stdout=subprocess.PIPE)
    assert isinstance(process, ForkedProcess)
    assert process.stdout is not None
    os.kill(lost_pad.pid, signal.SIGKILL)
    with process.stdout:
        assert process.stdout.readline() == b"waits\n"
        code, _, _ = started("3", by_exec=True)
        later = launch([*STARTED, "3"])
        assert isinstance(later, subprocess.Popen)
        assert later.wait(60) == code
        os.kill(process.pid, signal.SIGKILL)
        assert process.stdout.read() == b""
