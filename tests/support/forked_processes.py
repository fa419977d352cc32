"""The client of a launch pad, and the processes that the launch pad forks for it."""

import asyncio
import atexit
import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

from tests.support.launch_pad import receive, send

Limits = Mapping[int, tuple[int, int]]
Stream = int | IO[Any] | None

ROOT = Path(__file__).parent.parent.parent
_PAD: Final = "tests.support.launch_pad"
# The launch pad's own command line is as long, so that it has room for those of its forks.
_PADDING: Final = "." * 4000
# Read by the product when a command runs, never by the interpreter or by an import.
_READ_LATE: Final = ("HEDGEROW_", "AWS_", "COLUMNS", "PYTEST_CURRENT_TEST")
_LIMITS: Final = sorted(
    {value for name, value in vars(resource).items() if name.startswith("RLIMIT_")}
)


class LaunchPad:
    """A launch pad, and what can be asked of it; returns before it is ready."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._environment = dict(os.environ)
        self._lock = threading.Lock()
        self._control: socket.socket | None = ours
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _PAD, str(theirs.fileno()), _PADDING],
                pass_fds=(theirs.fileno(),),
                cwd=ROOT,
            )
        self._is_ready = False
        atexit.register(self.close)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def close(self) -> None:
        """End it; what it has forked lives on."""
        if self._control is not None:
            self._control.close()
            self._control = None
            self._process.kill()  # it has nothing to finish, and may still be importing
            self._process.wait(60)

    def can_fork(self, environment: Mapping[str, str]) -> bool:
        """Whether it lives, and its forks are like an interpreter with this environment."""
        if not self._is_ready:
            answer, _ = self._answer()
            self._is_ready = True
            if answer is not None and not answer["is_safe"]:
                self.close()
        names = self._environment.keys() | environment.keys()
        return self._control is not None and all(
            name.startswith(_READ_LATE) or self._environment.get(name) == environment.get(name)
            for name in names
        )

    def fork(
        self,
        command: Sequence[str],
        streams: Sequence[Stream],
        environment: Mapping[str, str],
        folder: Path | str | None,
        passed: Sequence[int],
        limits: Limits,
        *,
        is_leader: bool,
    ) -> "ForkedProcess | None":
        """Fork a process that does what the interpreter does with these arguments.

        Returns:
            The process; None if the launch pad has ended.

        Raises:
            OSError: the process cannot be forked.
        """
        asked = {
            "command": command,
            "passed": passed,
            "environment": dict(environment),
            "folder": str(folder or Path.cwd()),
            "limits": [(one, limits.get(one) or resource.getrlimit(one)) for one in _LIMITS],
            "is_leader": is_leader,
            "umask": _umask(),
            "ignores_sigint": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        }
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            given, kept = _opened(streams, theirs, ours)
            answer, descriptors = self._answer(asked, [*given, *passed])
            if answer is None:
                return None
            if "errno" in answer:
                raise OSError(answer["errno"], os.strerror(answer["errno"]))
            ours.pop_all()
            return ForkedProcess(self, answer["pid"], descriptors[0], kept)

    def reap(self, pid: int) -> int | None:
        """The return code of a process that it has forked; None while that runs."""
        answer, _ = self._answer({"ended": pid})
        assert answer is not None, "the launch pad has ended, which knew how its forks end"
        status: int | None = answer["status"]
        return status

    def _answer(
        self, asked: dict[str, Any] | None = None, streams: Sequence[int] = ()
    ) -> tuple[dict[str, Any] | None, list[int]]:
        with self._lock:
            if self._control is None:
                return None, []
            try:
                if asked is not None:
                    send(self._control, asked, streams)
                answer, descriptors = receive(self._control, 1)
            except ConnectionError:
                answer, descriptors = None, []
        if answer is None:
            self.close()
        return answer, descriptors


def _umask() -> int:
    """That of this process; the call that reads it would change it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("\nUmask:")[2].split()[0], 8)


def _opened(
    streams: Sequence[Stream], theirs: contextlib.ExitStack, ours: contextlib.ExitStack
) -> tuple[list[int], list[int | None]]:
    """The descriptors of a process's standard streams, and our ends of those that are pipes."""
    given: list[int] = []
    kept: list[int | None] = []
    for number, stream in enumerate(streams):
        kept.append(None)
        match stream:
            case None:
                given.append(number)
            case subprocess.PIPE:
                ends = os.pipe()
                given.append(ends[number != 0])
                kept[number] = ends[number == 0]
                theirs.callback(os.close, ends[number != 0])
                ours.callback(os.close, ends[number == 0])
            case subprocess.DEVNULL:
                given.append(os.open(os.devnull, os.O_RDWR))
                theirs.callback(os.close, given[-1])
            case subprocess.STDOUT:
                given.append(given[1])
            case int():
                given.append(stream)
            case _:
                given.append(stream.fileno())
    return given, kept


class ForkedProcess:
    """A process that a launch pad has forked; as `subprocess.Popen`.

    Attributes:
        descriptor: refers to the process; to be read when it has ended, and closed when that is
            known.
        pipes: our ends of its standard streams.
    """

    stdin: IO[Any] | None = None
    stdout: IO[Any] | None = None
    stderr: IO[Any] | None = None

    def __init__(
        self, pad: LaunchPad, pid: int, descriptor: int, pipes: Sequence[int | None]
    ) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.descriptor = descriptor
        self.pipes = pipes
        self._pad = pad
        self._lock = threading.Lock()

    def with_files(self, *, text: bool) -> Self:
        """Open files on the pipes; returns this object."""
        kind = "" if text else "b"
        self.stdin, self.stdout, self.stderr = (
            None if pipe is None else os.fdopen(pipe, mode + kind)
            for pipe, mode in zip(self.pipes, "wrr", strict=True)
        )
        return self

    def poll(self) -> int | None:
        """Look whether it has ended; returns the return code."""
        with self._lock:
            if self.returncode is None and (code := self._pad.reap(self.pid)) is not None:
                os.close(self.descriptor)
                self.returncode = code
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns the return code."""
        if self.returncode is None:
            ended = select.poll()
            ended.register(self.descriptor, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:  # noqa: A002
        """Read its output to the end, and wait for its end."""
        assert input is None
        until = None if timeout is None else time.monotonic() + timeout
        read: list[Any] = [None, None]

        def read_all(number: int, stream: IO[Any]) -> None:
            with stream:
                read[number] = stream.read()

        def left_s() -> float | None:
            return None if until is None else max(0.0, until - time.monotonic())

        readers = [
            threading.Thread(target=read_all, args=(number, stream), daemon=True)
            for number, stream in enumerate((self.stdout, self.stderr))
            if stream is not None and not stream.closed
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(left_s())
            if reader.is_alive():
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        self.wait(left_s())
        return read[0], read[1]

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)  # it exists until it is reaped, which only `poll` does

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


class AsyncForkedProcess:
    """The same; as `asyncio.subprocess.Process`."""

    def __init__(self, process: ForkedProcess) -> None:
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._process = process
        self._has_ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(process.descriptor, self._reap)

    @classmethod
    async def watching(cls, process: ForkedProcess) -> Self:
        """Read its output, and wait for its end, on the running loop."""
        one = cls(process)
        _, stdout, stderr = process.pipes
        one.stdout = await _reader(stdout)
        one.stderr = await _reader(stderr)
        return one

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal; None until its end is known."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for its end; returns the return code."""
        await self._has_ended.wait()
        return self._process.wait()

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read its output to the end, and wait for its end; b"" for what is no pipe."""
        out, err = await asyncio.gather(_read(self.stdout), _read(self.stderr))
        await self.wait()
        return out, err

    def send_signal(self, signal: int) -> None:
        """Send it a signal."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, signal)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.descriptor)
        self._process.poll()
        self._has_ended.set()


async def _reader(pipe: int | None) -> asyncio.StreamReader | None:
    if pipe is None:
        return None
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", 0)
    )
    return reader


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()
