"""One child process: starts it, ends it, and makes sure that it never outlives this process."""

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
from hedgerow.gateway.local.processes.child_log import Log
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
    """A Python program as a call of its `run_with`, which does the same as its command line.

    Attributes:
        module: the module with that function.
        options: its arguments, with `PARENT_PIPE` for that descriptor's number.
    """

    module: str
    options: Mapping[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Program:
    """What a child runs.

    Attributes:
        name: names the child, its log and its lock.
        arguments: the command line, with `PARENT_PIPE` where the descriptor's number goes.
        drain_s: how long it may take to end after SIGTERM before it is killed.
        environment: variables in addition to this process's; None removes one.
        defaults: variables that the child gets unless this process has one of that name.
        call: what a template process runs in a fork instead; None if it is not our Python.
        is_quiet: whether its log is not structured like ours, so that only its death is worth a
            line on the terminal.
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

    Three things tie it to this process. A pipe whose other end only this process holds reads EOF
    when this process has ended in any way. A session of its own keeps the terminal's Ctrl-C from
    it, so that the drain has one order. If it belongs to a folder, it inherits a lock and holds it
    for as long as it lives, so that a later start on the same folder detects a child that was left
    behind.

    Attributes:
        started_at: when it was started, in s of the monotonic clock.
        is_overdue: whether it had not ended when its time to drain was over.
    """

    def __init__(self, program: Program, process: Process, pipe: int) -> None:
        self.program = program
        self.started_at = time.monotonic()
        self.is_overdue = False
        self._process = process
        self._pipe = pipe

    @classmethod
    async def start(
        cls, program: Program, folder: Path | None, log: Log, template: Template | None = None
    ) -> "Child":
        """Start `program`.

        Args:
            program: what to run.
            folder: the folder of its lock, which exists; None for no lock.
            log: takes its standard output and error.
            template: forks it, if it is a Python module and the template process lives.

        Raises:
            ConfigurationError: an earlier child of this name still lives and cannot be ended.
            OSError: it cannot be started.
        """
        with contextlib.ExitStack() as passed, contextlib.ExitStack() as kept:
            lock = _no_lock() if folder is None else await _lock_of(program, folder)
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
                # Left running, it would be unknown, and its lock would block its successor.
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
        """Whether it runs, as far as is known."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait for its end and clean up; returns its exit code, or minus the signal."""
        code = await self._process.wait()
        self._close_pipe()
        # Its own children (scorers) notice its end by themselves; any that hangs is ended here.
        self._signal_session(signal.SIGKILL)
        return code

    async def drain(self) -> int:
        """Ask it to end, and kill it if that takes too long; returns its exit code."""
        self.send(signal.SIGTERM)
        # A child that was stopped (SIGSTOP) could not act on the SIGTERM.
        self._signal_session(signal.SIGCONT)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.program.drain_s):
                return await self.wait()
        self.is_overdue = True
        self.kill()
        return await self.wait()

    def kill(self) -> None:
        """Kill it, and every process of its session, at once."""
        self.send(signal.SIGKILL)
        self._signal_session(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send it one signal, as any other process could."""
        # Not through the process object: before Python 3.13 it reaps a child that has just ended,
        # so that the loop, which waits for it, never learns how it ended (cpython's gh-87744).
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
    """Say in words how a process ended, given its exit code, or minus the signal."""
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


def _no_lock() -> int:
    """Return a descriptor in place of a lock's, which takes the process id and keeps nothing."""
    return os.open(os.devnull, os.O_WRONLY)


async def _lock_of(program: Program, folder: Path) -> int:
    """Take the lock that a child holds while it lives; returns its descriptor."""
    descriptor = os.open(folder / f"{program.name}.lock", os.O_RDWR | os.O_CREAT, FILE_MODE)
    try:
        await _take_over(descriptor, f"{program.name} on {folder.parent}", program.drain_s)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


async def _take_over(descriptor: int, what: str, drain_s: float) -> None:
    """Lock; waits for an earlier child that holds the lock, and kills it if that takes too long.

    An earlier child is one whose supervisor was killed: it has read EOF and is draining, or it
    hangs. Since it holds the lock, it lives, and the process id in the file is its own.
    """
    if not await _locked(descriptor, drain_s):
        holder = read_pid(descriptor)
        if holder is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(holder, signal.SIGKILL)
        if not await _locked(descriptor, _KILLED_S):
            raise ConfigurationError(
                f"an earlier {what} is still running, process {holder or 'unknown'}"
            )
    # Overwritten, not truncated: that needs no new block, so it works on a full disk.
    try:
        os.pwrite(descriptor, _pid_line(None), 0)
    except OSError:
        os.ftruncate(descriptor, 0)


def _pid_line(pid: int | None) -> bytes:
    """Return the content of a lock file; of constant length, so that it can be overwritten."""
    return f"{'' if pid is None else pid:<{_PID_WIDTH}}\n".encode()


async def _locked(descriptor: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while not try_lock(descriptor):
        if time.monotonic() >= deadline:
            return False
        # flock(2) cannot wait without blocking the loop.
        await asyncio.sleep(0.05)
    return True


def try_lock(descriptor: int) -> bool:
    """Try to take an advisory lock on a whole file; returns whether it was free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_pid(descriptor: int) -> int | None:
    """Read the process id in a lock file."""
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None


def is_running(pid: int) -> bool:
    """Return whether a process of this id runs; reliable only for our own children."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
