"""The supervisor with stand-in children: real processes, real signals."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hedgerow.gateway.local.processes.child import Child, Program
from hedgerow.gateway.local.processes.child_log import MAX_BYTES, ChildLog, LogLine, read_line
from hedgerow.gateway.local.processes.restart_policy import RestartPolicy
from hedgerow.gateway.local.processes.supervisor import (
    Died,
    Event,
    Said,
    Started,
    Stopped,
    Supervisor,
)
from hedgerow.gateway.local.processes.template_process import PARENT_PIPE
from tests.support.processes import is_alive
from tests.support.waiting import until

pytestmark = pytest.mark.integration

QUICK = RestartPolicy(initial_s=0.05, max_s=0.2, jitter=0.0, stable_s=60.0)

# Ends on SIGTERM (saying so) and when its parent pipe reads EOF, as our processes do.
POLITE = """
import os, select, signal, sys
def end(number, frame):
    print('{"level": "info", "event": "draining"}', flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print('{"level": "info", "event": "ready"}', flush=True)
os.read(int(sys.argv[1]), 1)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("stubborn", flush=True)
while True: time.sleep(60)
"""


def _program(name: str, code: str, drain_s: float = 10.0) -> Program:
    return Program(name, (sys.executable, "-I", "-S", "-c", code, PARENT_PIPE), drain_s)


def _num_descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


class Watched:
    """A supervisor, and what it told."""

    def __init__(self, folder: Path, policy: RestartPolicy = QUICK) -> None:
        """Start nothing yet."""
        self.events: list[Event] = []
        self.deaths: list[str] = []
        self.supervisor = Supervisor(folder, policy, self.events.append, self._note_death)

    async def _note_death(self, name: str) -> None:
        self.deaths.append(name)

    def pid(self, name: str) -> int:
        """Process id of the child that runs now."""
        child = self.supervisor.child(name)
        assert child is not None
        return child.pid

    async def says(self, holds: Callable[[Event], bool], what: str) -> None:
        """Wait for an event."""
        await until(lambda: any(holds(event) for event in self.events), what=what)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    """A supervisor whose children are gone when the test is over."""
    one = Watched(tmp_path)
    yield one
    one.supervisor.kill_all()
    await one.supervisor.close()


async def test_a_child_that_dies_is_started_again(watched: Watched) -> None:
    """A killed child is reported, with how it died, and another runs in its place."""
    await watched.supervisor.start(_program("worker", POLITE))
    first = watched.pid("worker")
    os.kill(first, signal.SIGKILL)
    await watched.says(lambda event: isinstance(event, Started) and event.num_restarts == 1, "back")
    died = next(event for event in watched.events if isinstance(event, Died))
    assert (died.name, died.pid, died.how) == ("worker", first, "was killed by SIGKILL")
    assert watched.deaths == ["worker"]
    assert watched.pid("worker") != first


async def test_a_child_that_keeps_dying_backs_off(watched: Watched) -> None:
    """Each restart of a child that dies at once waits longer, as the policy says."""
    await watched.supervisor.start(_program("broken", "raise SystemExit(3)"))
    await until(lambda: len(watched.deaths) >= 4, what="four deaths")
    died = [event for event in watched.events if isinstance(event, Died)]
    assert [event.restart_in_s for event in died[:4]] == [0.05, 0.1, 0.2, 0.2]
    assert died[0].how == "ended with exit code 3"


async def test_a_program_that_is_not_there_is_told_of(watched: Watched) -> None:
    """A program that cannot be started counts as a death, and does not end the supervisor."""
    await watched.supervisor.start(Program("ghost", ("/no/such/program",), 1.0))
    died = next(event for event in watched.events if isinstance(event, Died))
    assert "could not be started" in died.how
    assert died.pid == 0


async def test_a_start_that_fails_halfway_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the child that could not be written down is ended; nothing stays open."""
    spawned: list[int] = []
    spawn = asyncio.create_subprocess_exec

    async def spawn_and_tell(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        process = await spawn(*arguments, **options)
        spawned.append(process.pid)
        return process

    def fail(*_arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn_and_tell)
    program = _program("worker", STUBBORN, drain_s=0.2)
    descriptors = _num_descriptors()
    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, "pwrite", fail)
        with pytest.raises(OSError, match="No space"):
            await Child.start(program, tmp_path, ChildLog(tmp_path / "worker.log"))
        full_disk.setattr(ChildLog, "open", fail)
        with pytest.raises(OSError, match="No space"):
            await Child.start(program, tmp_path, ChildLog(tmp_path / "worker.log"))
    await until(lambda: not any(map(is_alive, spawned)), what="nothing that was spawned lives")
    assert len(spawned) == 1
    assert _num_descriptors() <= descriptors
    child = await Child.start(program, tmp_path, ChildLog(tmp_path / "worker.log"))
    child.kill()
    await child.wait()


async def test_children_are_kept_when_the_terminal_is_gone(tmp_path: Path) -> None:
    """Events that can no longer be reported stop neither restarts nor the drain."""

    def tell(_event: Event) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def note(_name: str) -> None:
        """Ignore a death."""

    supervisor = Supervisor(tmp_path, QUICK, tell, note)
    try:
        await supervisor.start(_program("worker", POLITE))
        first = supervisor.child("worker")
        assert first is not None
        first.kill()
        await until(
            lambda: supervisor.child("worker") not in (None, first), what="another in its place"
        )
    finally:
        await supervisor.close()
    assert supervisor.child("worker") is None


async def test_a_log_that_cannot_be_read_silences_no_other(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch over the logs says so, goes on, and reports the other children's warnings."""
    new_lines = ChildLog.new_lines

    def read(log: ChildLog) -> list[LogLine]:
        if log.path.stem == "broken":
            raise OSError(errno.EMFILE, "Too many open files")
        return new_lines(log)

    monkeypatch.setattr(ChildLog, "new_lines", read)
    code = """
import time
print('{"level": "warning", "event": "loop_lag"}', flush=True)
time.sleep(60)
"""
    await watched.supervisor.start(_program("broken", code), _program("worker", code))
    await watched.says(lambda event: event == Said("worker", "warning", "loop_lag"), "a line")
    await watched.says(
        lambda event: isinstance(event, Said) and event.name == "broken", "what is wrong"
    )


async def test_stopping_drains_and_does_not_restart(watched: Watched) -> None:
    """A stopped child gets SIGTERM, ends by itself, and is not started again."""
    await watched.supervisor.start(_program("worker", POLITE))
    pid = watched.pid("worker")
    await until(lambda: "ready" in "".join(watched.supervisor.log_tail("worker")), what="ready")
    await watched.supervisor.stop(["worker"])
    assert not is_alive(pid)
    assert watched.events[-1] == Stopped("worker", pid, "ended with exit code 0")
    assert "draining" in watched.supervisor.log_tail("worker")[-1]
    assert "keep worker" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_a_child_that_will_not_end_is_killed(watched: Watched) -> None:
    """A child that ignores SIGTERM is gone when its time to drain is over."""
    await watched.supervisor.start(_program("worker", STUBBORN, drain_s=0.3))
    pid = watched.pid("worker")
    await until(lambda: watched.supervisor.log_tail("worker") != [], what="its first line")
    await watched.supervisor.stop(["worker"])
    assert not is_alive(pid)
    assert watched.events[-1] == Stopped("worker", pid, "was killed by SIGKILL", is_overdue=True)


async def test_who_will_not_wait_for_a_drain_need_not(watched: Watched) -> None:
    """`kill_all` ends a child in the middle of its drain, long before its time is up."""
    await watched.supervisor.start(_program("worker", STUBBORN, drain_s=600))
    pid = watched.pid("worker")
    await until(lambda: watched.supervisor.log_tail("worker") != [], what="its first line")
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(watched.supervisor.stop(["worker"]))
        await asyncio.sleep(0)
        watched.supervisor.kill_all()
    assert not is_alive(pid)
    assert watched.events[-1] == Stopped("worker", pid, "was killed by SIGKILL")


async def test_how_a_child_ended_is_known_though_it_is_killed_again(watched: Watched) -> None:
    """A second signal to a child that has just died does not take its exit code away."""
    names = [f"worker-{number}" for number in range(8)]
    await watched.supervisor.start(*(_program(name, STUBBORN, drain_s=600) for name in names))
    # Until then the signal that asks them to drain would end them.
    await until(lambda: all(map(watched.supervisor.log_tail, names)), what="their first lines")
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(watched.supervisor.stop(names))
        await asyncio.sleep(0)
        for _ in range(50):
            watched.supervisor.kill_all()
    ends = {event.name: event.how for event in watched.events if isinstance(event, Stopped)}
    assert ends == dict.fromkeys(names, "was killed by SIGKILL")


async def test_a_stopped_process_drains_too(watched: Watched) -> None:
    """A child under SIGSTOP is woken so that it can drain."""
    await watched.supervisor.start(_program("worker", POLITE))
    await until(lambda: "ready" in "".join(watched.supervisor.log_tail("worker")), what="ready")
    os.kill(watched.pid("worker"), signal.SIGSTOP)
    await watched.supervisor.stop(["worker"])
    stopped = watched.events[-1]
    assert isinstance(stopped, Stopped)
    assert stopped.how == "ended with exit code 0"


async def test_what_a_dead_child_started_dies_with_it(watched: Watched) -> None:
    """A grandchild does not outlive the child that was killed."""
    code = """
import subprocess, sys, time
other = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"])
print(other.pid, flush=True)
time.sleep(60)
"""
    await watched.supervisor.start(_program("worker", code))
    await until(lambda: watched.supervisor.log_tail("worker") != [], what="the grandchild's id")
    grandchild = int(watched.supervisor.log_tail("worker")[0])
    assert is_alive(grandchild)
    os.kill(watched.pid("worker"), signal.SIGKILL)
    await until(lambda: not is_alive(grandchild), what="the grandchild is gone")


async def test_warnings_reach_the_terminal_and_chatter_does_not(watched: Watched) -> None:
    """A warning in a child's log is reported; what is merely informative stays in the file."""
    code = """
import time
print('{"level": "info", "event": "chatter"}')
print('{"level": "warning", "event": "loop_lag", "lag_ms": 120, "timestamp": "now"}')
print('Traceback (most recent call last):', flush=True)
time.sleep(60)
"""
    await watched.supervisor.start(_program("worker", code))
    await watched.says(lambda event: isinstance(event, Said) and event.level == "error", "a line")
    said = [event for event in watched.events if isinstance(event, Said)]
    assert said == [
        Said("worker", "warning", "loop_lag lag_ms=120"),
        Said("worker", "error", "Traceback (most recent call last):"),
    ]


async def test_children_notice_that_the_supervisor_was_killed(tmp_path: Path) -> None:
    """SIGKILL of the supervisor: its children read EOF, and none is alive soon after."""
    script = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        from hedgerow.gateway.local.processes.supervisor import Supervisor
        from tests.integration.test_supervisor import POLITE, QUICK, _program

        async def note(name): pass

        async def main():
            one = Supervisor(Path({str(tmp_path)!r}), QUICK, lambda event: None, note)
            await one.start(_program("a", POLITE), _program("b", POLITE))
            print(one.child("a").pid, one.child("b").pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """)
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=subprocess.PIPE
    )
    assert supervisor.stdout is not None
    pids = [int(word) for word in (await supervisor.stdout.readline()).split()]
    assert len(pids) == 2
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: not any(map(is_alive, pids)), what="both children are gone")


async def test_a_child_of_a_killed_supervisor_makes_way(tmp_path: Path) -> None:
    """A child that stayed behind is ended before another takes its place, and not sooner."""
    earlier = Watched(tmp_path)
    await earlier.supervisor.start(_program("worker", STUBBORN, drain_s=0.3))
    left_behind = earlier.pid("worker")
    later = Watched(tmp_path)
    try:
        await later.supervisor.start(_program("worker", POLITE, drain_s=0.3))
        assert any(isinstance(event, Started) for event in later.events)
        await until(lambda: not is_alive(left_behind), what="the earlier child is gone")
    finally:
        for one in (earlier, later):
            one.supervisor.kill_all()
            await one.supervisor.close()


def test_a_log_is_bounded_and_loses_nothing_that_it_has_read(tmp_path: Path) -> None:
    """A log over its size moves aside, and lines written afterwards are still read."""
    log = ChildLog(tmp_path / "worker.log")
    descriptor = log.open()
    try:
        os.write(descriptor, b'{"level": "info", "event": "x"}\n' * (MAX_BYTES // 32 + 1))
        while log.path.stat().st_size != log._offset:
            log.new_lines()
        log.trim()
        assert log.path.stat().st_size == 0
        assert (tmp_path / "worker.log.1").stat().st_size >= MAX_BYTES
        os.write(descriptor, b'{"level": "error", "event": "later"}\n')
        assert log.new_lines() == [LogLine("error", "later")]
        assert log.path.stat().st_size < 100
    finally:
        os.close(descriptor)


def test_a_line_is_told_of_once_it_is_whole(tmp_path: Path) -> None:
    """Half a line waits for its other half."""
    log = ChildLog(tmp_path / "worker.log")
    descriptor = log.open()
    try:
        os.write(descriptor, b'{"level": "warning", ')
        assert log.new_lines() == []
        os.write(descriptor, b'"event": "whole"}\n')
        assert log.new_lines() == [LogLine("warning", "whole")]
    finally:
        os.close(descriptor)


def test_an_exception_is_one_line_on_the_terminal() -> None:
    """Of a logged exception the last line is reported; the traceback stays in the file."""
    line = read_line(b'{"level": "error", "event": "oops", "exception": "Traceback\\nKeyError: 1"}')
    assert line == LogLine("error", "oops exception=KeyError: 1")
