"""One child process: how it is started, how it is ended, and that it never outlives us."""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import structlog

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.machine.private_folder import FILE_MODE, UMASK
from hedgerow.gateway.local.processes.child_log import ChildLog
from hedgerow.gateway.local.processes.template import (
    ForkRequest,
    Process,
    Template,
    TemplateLostError,
)
from hedgerow.gateway.local.processes.template_process import PARENT_PIPE

_KILLED_S = 5.0
_PID_WIDTH = 20

_log = structlog.get_logger()


class Call(NamedTuple):
    """A Python program as a call of `run_with`, which does what its command line does.

    Attributes:
        module: where that function is.
        options: its arguments, with `PARENT_PIPE` for that descriptor's number.
    """

    module: str
    options: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Program:
    """What a child runs.

    Attributes:
        name: names the child, its log and its lock.
        arguments: the command line, with `PARENT_PIPE` where the descriptor's number goes.
        drain_s: how long it may take to end after SIGTERM before it is killed.
        environment: variables beside those that we have; None takes one away.
        defaults: variables that it is given where we have none of that name.
        call: what a template process does in a fork instead; None for what is no Python of ours.
        is_quiet: whether its log speaks another language than ours, so that only its death is
            worth a line on the terminal.
    """

    name: str
    arguments: tuple[str, ...]
    drain_s: float
    environment: Mapping[str, str | None] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    call: Call | None = None
    is_quiet: bool = False

    @property
    def environment_of_child(self) -> dict[str, str]:
        """All variables of the child."""
        merged: dict[str, str | None] = {**self.defaults, **os.environ, **self.environment}
        return {name: value for name, value in merged.items() if value is not None}


class Child:
    """A running program.

    Three things tie it to us. A pipe whose other end only we hold reads EOF when we are gone,
    however we went. A session of its own keeps the terminal's Ctrl-C from it, so that the drain
    has one order. A lock that it inherits is held for as long as it lives, so that a later start
    on the same folder finds out about one that stayed behind.

    Attributes:
        started_at: when it was started, in s of the monotonic clock.
        is_overdue: whether its time to drain was over before it had ended.
    """

    def __init__(self, program: Program, process: Process, pipe: int) -> None:
        self.program = program
        self.started_at = time.monotonic()
        self.is_overdue = False
        self._process = process
        self._pipe = pipe

    @classmethod
    async def start(
        cls, program: Program, folder: Path, log: ChildLog, template: Template | None = None
    ) -> "Child":
        """Start `program`.

        Args:
            program: what to run.
            folder: where its lock is; exists.
            log: takes its standard output and error.
            template: forks it, if it is a Python module and the template process lives.

        Raises:
            ConfigurationError: an earlier child of this name lives and cannot be ended.
            OSError: it cannot be started.
        """
        with contextlib.ExitStack() as passed, contextlib.ExitStack() as kept:
            lock = await _lock_of(program.name, folder, program.drain_s)
            passed.callback(os.close, lock)
            pipe_read, pipe_write = os.pipe()
            passed.callback(os.close, pipe_read)
            kept.callback(os.close, pipe_write)
            output = log.open()
            passed.callback(os.close, output)
            process = await _start(program, pipe_read, lock, output, template)
            kept.pop_all()
            child = cls(program, process, pipe_write)
            try:
                os.pwrite(lock, _pid_line(process.pid), 0)
            except OSError:
                # Nobody would know of it, and it would hold the lock against its successor.
                child.kill()
                await child.wait()
                raise
            return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended, as far as we have heard."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait for its end and clear up what it left; its exit code, or minus the signal."""
        code = await self._process.wait()
        self._close_pipe()
        # Its own children (scorers) notice its end by themselves; one that cannot is ended here.
        self._signal_session(signal.SIGKILL)
        return code

    async def drain(self) -> int:
        """Ask it to end, and make it end when it takes too long; its exit code."""
        self.send(signal.SIGTERM)
        # One that was stopped could not act on the first.
        self._signal_session(signal.SIGCONT)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.program.drain_s):
                return await self.wait()
        self.is_overdue = True
        self.kill()
        return await self.wait()

    def kill(self) -> None:
        """End it, and every process of its session, at once."""
        self.send(signal.SIGKILL)
        self._signal_session(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send it one signal, as anybody on this machine could."""
        # Not by the process object: before Python 3.13 it reaps a child that has just ended, so
        # that the loop, which waits for it, never learns how it ended (cpython's gh-87744).
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _signal_session(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1


def ending(code: int) -> str:
    """Say in words how a process ended; takes its exit code, or minus the signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


async def _start(
    program: Program, pipe: int, lock: int, output: int, template: Template | None
) -> Process:
    if template is not None and template.is_alive and (call := program.call) is not None:
        request = ForkRequest(program.name, call.module, call.options, program.environment_of_child)
        try:
            return await template.fork(request, (pipe, lock, output))
        except TemplateLostError:
            _log.warning("template_lost", pid=template.pid, child=program.name)
    return await asyncio.create_subprocess_exec(
        *(part.replace(PARENT_PIPE, str(pipe)) for part in program.arguments),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=program.environment_of_child,
        pass_fds=(pipe, lock),
        start_new_session=True,
        umask=UMASK,
    )


async def _lock_of(name: str, folder: Path, drain_s: float) -> int:
    """Take the lock that a child holds for its life; returns its descriptor."""
    descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, FILE_MODE)
    try:
        await _take_over(descriptor, f"{name} on {folder.parent}", drain_s)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


async def _take_over(descriptor: int, what: str, drain_s: float) -> None:
    """Lock; wait for an earlier child that holds it, and end it when that takes too long.

    An earlier child is one whose supervisor was killed: it has read EOF and is draining, or it
    hangs. The lock says that it lives, so that its number in the file is not somebody else's.
    """
    if not await _locked(descriptor, drain_s):
        holder = read_pid(descriptor)
        if holder is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(holder, signal.SIGKILL)
        if not await _locked(descriptor, _KILLED_S):
            raise ConfigurationError(f"an earlier {what} lives on, process {holder or 'unknown'}")
    # Written over and not cut off: a full disk still takes what needs no new block.
    try:
        os.pwrite(descriptor, _pid_line(None), 0)
    except OSError:
        os.ftruncate(descriptor, 0)


def _pid_line(pid: int | None) -> bytes:
    """What stands in a lock file; always as long, so that it can be written over."""
    return f"{'' if pid is None else pid:<{_PID_WIDTH}}\n".encode()


async def _locked(descriptor: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while not try_lock(descriptor):
        if time.monotonic() >= deadline:
            return False
        # flock(2) has no form that waits without blocking the loop.
        await asyncio.sleep(0.05)
    return True


def try_lock(descriptor: int) -> bool:
    """Take an advisory lock on a whole file; whether it was free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_pid(descriptor: int) -> int | None:
    """Read the process id that stands in a lock file."""
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None


def is_running(pid: int) -> bool:
    """Whether a process of this id runs; only sure of one that is, or was, our child."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
