"""The template process: what it forks is the same as what an interpreter would have run."""

import asyncio
import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hedgerow.gateway.local.processes.child import Call, Child, Program
from hedgerow.gateway.local.processes.child_log import ChildLog
from hedgerow.gateway.local.processes.restart_policy import RestartPolicy
from hedgerow.gateway.local.processes.supervisor import Died, Event, Started, Supervisor
from hedgerow.gateway.local.processes.template import ForkRequest, Template, TemplateLostError
from hedgerow.gateway.local.processes.template_process import PARENT_PIPE
from tests.integration.support.forked import MODULE
from tests.support.processes import children_of, is_alive
from tests.support.waiting import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="ELSEWHERE THERE IS NO TEMPLATE"),
]

ENVIRONMENT = {"FLAVOUR": "gr\udcfcn", "PYTHONUNBUFFERED": "1"}


def _with_template(test: Callable[[Template], Awaitable[None]]) -> None:
    """Run a test in a loop that begins when there is a template, as `gateway up` does."""
    with Template.started([MODULE]) as template:
        assert template is not None
        asyncio.run(asyncio.wait_for(test(template), 60.0))


def _program(what: str, how: str = "") -> Program:
    return Program(
        name="forked",
        arguments=(sys.executable, "-P", "-m", MODULE, what, how, PARENT_PIPE),
        drain_s=10.0,
        call=Call(MODULE, {"what": what, "how": how, "pipe": PARENT_PIPE}),
    )


@dataclass
class Forked:
    """A child, and the file of its output."""

    child: Child
    log: Path

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self.log.read_text(encoding="utf-8")

    async def line(self) -> str:
        """Its first line."""
        await until(lambda: "\n" in self.text, what="a line")
        return self.text.splitlines()[0]


@asynccontextmanager
async def _started(
    folder: Path, template: Template | None, what: str, how: str = ""
) -> AsyncIterator[Forked]:
    log = folder / "forked.log"
    child = await Child.start(_program(what, how), folder, ChildLog(log), template)
    try:
        yield Forked(child, log)
    finally:
        child.kill()
        await child.wait()


@pytest.mark.parametrize("is_forked", [True, False], ids=["forked", "exec"])
def test_a_child_is_the_same_however_it_starts(tmp_path: Path, *, is_forked: bool) -> None:
    """It is ours, leads a session, is private, and has its pipe, its lock and nothing else."""

    async def test(template: Template) -> None:
        async with _started(tmp_path, template if is_forked else None, "tell") as one:
            facts = json.loads(await one.line())
            pid = one.child.pid
            assert (facts["pid"], facts["parent"], facts["session"]) == (pid, os.getpid(), pid)
            assert facts["umask"] == 0o077
            assert facts["input"] == ""
            assert facts["threads"] == 1
            # Standard streams, the pipe and the lock.
            assert len(facts["descriptors"]) == 5
            assert facts["pipe"] in facts["descriptors"]
            own = {name: text for name, text in os.environ.items() if name != "LC_CTYPE"}
            told = {**facts["environment"]}
            told.pop("LC_CTYPE", None)  # an interpreter sets it for itself
            assert told == own
            if is_forked:
                assert facts["name"] == "forked"

    _with_template(test)


def test_variables_are_those_of_the_request_alone(tmp_path: Path) -> None:
    """A variable that the request lacks is gone, and one that is not UTF-8 arrives as it is."""

    async def test(template: Template) -> None:
        read, write = os.pipe()
        log = tmp_path / "log"
        output = os.open(log, os.O_WRONLY | os.O_CREAT)
        lock = os.open(tmp_path / "lock", os.O_WRONLY | os.O_CREAT)
        request = ForkRequest("a-name", MODULE, {"what": "tell", "pipe": PARENT_PIPE}, ENVIRONMENT)
        process = await template.fork(request, (read, lock, output))
        for descriptor in (read, output, lock):
            os.close(descriptor)
        await until(lambda: log.read_text().endswith("\n"), what="its facts")
        assert json.loads(log.read_text())["environment"] == ENVIRONMENT
        os.close(write)
        assert await process.wait() == 0

    _with_template(test)


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [("0", 0, ""), ("3", 3, ""), ("no luck", 1, "no luck\n"), ("error", 1, "a program's error\n")],
)
def test_a_child_s_end_is_known(tmp_path: Path, how: str, code: int, said: str) -> None:
    """Its exit code is what an interpreter's would be, and a traceback is in its log."""

    async def test(template: Template) -> None:
        async with _started(tmp_path, template, "exit", how) as one:
            assert await one.child.wait() == code
            assert one.text.endswith(said)
            assert ("Traceback" in one.text) == (how == "error")

    _with_template(test)


@pytest.mark.parametrize("is_forked", [True, False], ids=["forked", "exec"])
def test_a_child_s_last_words_are_heard(tmp_path: Path, *, is_forked: bool) -> None:
    """Its threads end before it does, and then its handlers of `atexit` are called."""

    async def test(template: Template) -> None:
        async with _started(tmp_path, template if is_forked else None, "linger") as one:
            assert await one.child.wait() == 0
            assert one.text.splitlines() == ["the end", "the thread", "the handler"]

    _with_template(test)


def test_a_child_that_is_killed_is_reaped(tmp_path: Path) -> None:
    """Its return code is minus the signal, and no zombie stays."""

    async def test(template: Template) -> None:
        async with _started(tmp_path, template, "wait") as one:
            await one.line()
            os.kill(one.child.pid, signal.SIGKILL)
            assert await one.child.wait() == -signal.SIGKILL
            with pytest.raises(ProcessLookupError):
                os.kill(one.child.pid, 0)  # a zombie would take it

    _with_template(test)


def test_a_child_outlives_its_template(tmp_path: Path) -> None:
    """SIGKILL of the template does a child no harm, and the next one is started by exec."""

    async def test(template: Template) -> None:
        async with _started(tmp_path, template, "wait") as one:
            await one.line()
            os.kill(template.pid, signal.SIGKILL)
            (tmp_path / "next").mkdir()
            async with _started(tmp_path / "next", template, "tell") as other:
                facts = json.loads(await other.line())
                assert facts["name"] != "forked", "a fork is named; an interpreter names itself"
                assert not template.is_alive
                assert one.child.is_alive
                assert is_alive(one.child.pid)

    _with_template(test)


def test_a_template_that_is_closed_forks_no_more(tmp_path: Path) -> None:
    """What is asked of it later is refused, and the process is gone at the end of the block."""

    async def test(template: Template) -> None:
        template.close()
        request = ForkRequest("late", MODULE, {"what": "wait"}, {})
        with pytest.raises(TemplateLostError):
            await template.fork(request, (0, 0, 0))

    with Template.started([MODULE]) as template:
        assert template is not None
        asyncio.run(test(template))
    assert not Path(f"/proc/{template.pid}").exists()


@pytest.mark.parametrize("name", ["pidfd_open", "memfd_create", "fork"])
def test_where_the_system_lacks_something_there_is_none(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """No template is not an error: what there is to start is then started by exec."""

    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, name, refuse)
    with Template.started([MODULE]) as template:
        assert template is None


def test_a_request_that_is_given_up_is_not_answered_twice(tmp_path: Path) -> None:
    """After a cancelled request the next child is a new one, started by exec."""

    async def test(template: Template) -> None:
        os.kill(template.pid, signal.SIGSTOP)
        start = asyncio.create_task(
            Child.start(_program("wait"), tmp_path, ChildLog(tmp_path / "a"), template)
        )
        await until(template._turn.locked, what="a request is under way")
        start.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await start
        os.kill(template.pid, signal.SIGCONT)
        (tmp_path / "next").mkdir()
        async with _started(tmp_path / "next", template, "tell") as one:
            assert json.loads(await one.line())["pid"] == one.child.pid

    _with_template(test)


def test_a_request_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    """What the template forks for a cancelled request is ended, and the template serves on."""

    async def test(template: Template) -> None:
        before = set(children_of(os.getpid()))
        os.kill(template.pid, signal.SIGSTOP)
        start = asyncio.create_task(
            Child.start(_program("wait"), tmp_path, ChildLog(tmp_path / "a"), template)
        )
        await until(template._turn.locked, what="a request is under way")
        start.cancel()
        os.kill(template.pid, signal.SIGCONT)
        with pytest.raises(asyncio.CancelledError):
            await start
        assert set(children_of(os.getpid())) == before
        assert template.is_alive

    _with_template(test)


def test_no_orphan_becomes_ours(tmp_path: Path) -> None:
    """What a child leaves behind is init's to reap, though the child itself is ours."""
    assert not _is_subreaper()

    async def test(template: Template) -> None:
        async with _started(tmp_path, template, "wait") as one:
            assert not _is_subreaper()
            assert one.child.pid in children_of(os.getpid())
            assert children_of(template.pid) == []

    _with_template(test)


def _is_subreaper() -> bool:
    answer = ctypes.c_int(-1)
    get_child_subreaper = 37  # prctl(2)
    ctypes.CDLL(None).prctl(get_child_subreaper, ctypes.byref(answer), 0, 0, 0)
    return bool(answer.value)


def tell_arenas(folder: Path) -> None:
    """Print how many arenas a fork that allocates in many threads has, by the setting."""
    num_arenas = {}

    async def test(template: Template) -> None:
        for most in ("1", "4096"):
            os.environ["MALLOC_ARENA_MAX"] = most
            (folder / most).mkdir()
            async with _started(folder / most, template, "allocate") as one:
                assert await one.child.wait() == 0
                num_arenas[most] = len(re.findall("<heap nr=", one.text))

    _with_template(test)
    sys.stdout.write(json.dumps(num_arenas))


def test_the_allocator_is_set_as_the_variables_say(tmp_path: Path) -> None:
    """MALLOC_ARENA_MAX counts in a fork too, though glibc has read its variables long before."""
    # In an interpreter of its own, which has few threads, as a template's parent does: glibc takes
    # its limit from no option any more once it had to make its ninth arena.
    code = "import sys, pathlib, tests.integration.test_template as test; "
    code += "test.tell_arenas(pathlib.Path(sys.argv[1]))"
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, timeout=60
    )
    num_arenas = json.loads(told.stdout)
    assert 1 <= num_arenas["1"] < 8 < num_arenas["4096"]


def test_a_supervisor_s_children_come_back_by_fork(tmp_path: Path) -> None:
    """One that dies is forked again, and reported as any other."""
    events: list[Event] = []

    async def nothing(_name: str) -> None:
        pass

    async def test(template: Template) -> None:
        policy = RestartPolicy(initial_s=0.01, max_s=0.01, jitter=0.0, stable_s=60.0)
        supervisor = Supervisor(tmp_path, policy, events.append, nothing, template)
        try:
            await supervisor.start(_program("wait"))
            first = supervisor.child("forked")
            assert first is not None
            os.kill(first.pid, signal.SIGKILL)
            await until(lambda: len(_pids(events)) == 2, what="another start")
            assert Died("forked", first.pid, "was killed by SIGKILL", 0.01) in events
            again = _pids(events)[1]
            await until(lambda: _name_of(again) == "forked", what="the name of a fork")
        finally:
            await supervisor.close()

    _with_template(test)


def _name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _pids(events: Sequence[Event]) -> list[int]:
    return [event.pid for event in events if isinstance(event, Started)]
