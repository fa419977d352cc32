"""Starts the product's programs as processes of their own: by exec, or by a fork of a launch pad.

By exec is how users start them, and the default. A ring that calls `fork_from_launch_pad` starts
them by fork (`tests/support/launch_pad.py`), which saves most of the CPU of a start, if a fork does
the same: if the command is `python -m MODULE …` or `python -c CODE …`, and its environment differs
from this process's in nothing that the interpreter or an imported module has read. `by_exec` and
`starting_by_exec` keep starts as users': for tests of starting, memory or the interpreter.
"""

import asyncio
import contextlib
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Protocol

from hedgerow.shard_worker.executors.process_pool.forkserver_start import (
    ForkserverProcess,
    start_interpreter,
)
from tests.support.forked_processes import (
    AsyncForkedProcess,
    ForkedProcess,
    LaunchPad,
    Limits,
    Stream,
)


class Process(Protocol):
    """A process that was started in either way; as `subprocess.Popen`."""

    stdin: IO[Any] | None
    stdout: IO[Any] | None
    stderr: IO[Any] | None

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal; None until its end is known."""

    def poll(self) -> int | None:
        """Look whether it has ended; returns the return code."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns the return code."""

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:  # noqa: A002
        """Read its output to the end, and wait for its end."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it is known to have ended."""

    def terminate(self) -> None:
        """Send it SIGTERM."""

    def kill(self) -> None:
        """Send it SIGKILL."""


class AsyncProcess(Protocol):
    """The same, as `asyncio.subprocess.Process`."""

    stdout: asyncio.StreamReader | None
    stderr: asyncio.StreamReader | None

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal; None until its end is known."""

    async def wait(self) -> int:
        """Wait for its end; returns the return code."""

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read its output to the end, and wait for its end."""

    def send_signal(self, signal: int) -> None:
        """Send it a signal."""

    def terminate(self) -> None:
        """Send it SIGTERM."""

    def kill(self) -> None:
        """Send it SIGKILL."""


_pad: LaunchPad | None = None


def fork_from_launch_pad() -> None:
    """Have this process, which runs tests, start programs by fork where that does the same."""
    global _pad  # noqa: PLW0603 - one for each process
    if _pad is None and sys.platform.startswith("linux"):
        _pad = LaunchPad()


@contextlib.contextmanager
def starting_by_exec() -> Iterator[None]:
    """Start everything as users do during the block: for tests of starting, or of memory."""
    global _pad  # noqa: PLW0603 - one for each process
    pad, _pad = _pad, None
    try:
        yield
    finally:
        _pad = pad


def launch(
    command: Sequence[str],
    *,
    by_exec: bool = False,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    text: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    start_new_session: bool = False,
    pass_fds: Sequence[int] = (),
    limits: Limits = MappingProxyType({}),
) -> Process:
    """Start a process, as `subprocess.Popen` does, whose options the others are.

    With `by_exec`, it is started as users start it, whatever the ring does. Its resource limits are
    those of this process, except for `limits`.
    """
    if not by_exec:
        streams = (stdin, stdout, stderr)
        forked = _fork(command, streams, env, cwd, pass_fds, limits, is_leader=start_new_session)
        if forked is not None:
            return forked.with_files(text=text)

    def limit() -> None:
        for number, bounds in limits.items():
            resource.setrlimit(number, bounds)

    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=text,
        env=env,
        cwd=cwd,
        start_new_session=start_new_session,
        pass_fds=pass_fds,
        preexec_fn=limit if limits else None,  # noqa: PLW1509 # no thread holds a lock for it
    )


def launch_and_wait(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    timeout_s: float = 60.0,
) -> "subprocess.CompletedProcess[str]":
    """Start a process, as `launch` does, and wait for its end, as `subprocess.run` does."""
    process = launch(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=cwd
    )
    try:
        out, err = process.communicate(timeout=timeout_s)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return subprocess.CompletedProcess(command, process.wait(), out, err)


async def launch_async(
    *command: str,
    by_exec: bool = False,
    stdout: Stream = None,
    stderr: Stream = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    start_new_session: bool = False,
) -> AsyncProcess:
    """Start a process, as `launch` does; the options are of `asyncio.create_subprocess_exec`."""
    if not by_exec:
        streams = (None, stdout, stderr)
        forked = _fork(command, streams, env, cwd, (), {}, is_leader=start_new_session)
        if forked is not None:
            return await AsyncForkedProcess.watching(forked)
    return await asyncio.create_subprocess_exec(
        *command,
        stdout=stdout,
        stderr=stderr,
        env=env,
        cwd=cwd,
        start_new_session=start_new_session,
    )


def _fork(
    command: Sequence[str],
    streams: Sequence[Stream],
    env: Mapping[str, str] | None,
    cwd: Path | str | None,
    passed: Sequence[int],
    limits: Limits,
    *,
    is_leader: bool,
) -> ForkedProcess | None:
    """Fork a process; None if that would not be the same, or is not possible."""
    if _pad is None or command[0] != sys.executable or command[1] not in {"-m", "-c"}:
        return None
    environment = dict(os.environ if env is None else env)
    if not _pad.can_fork(environment):
        return None
    return _pad.fork(command[1:], streams, environment, cwd, passed, limits, is_leader=is_leader)


def start_forkserver(name: str) -> tuple[ForkserverProcess, socket.socket]:
    """Start a forkserver, as `start_interpreter` does."""
    return start_interpreter(name, launch)
