"""The client of the template process: asks it to fork children of this process."""

import asyncio
import ctypes
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Protocol

from hedgerow.common.machine.shared_pages import release_files, share_pages
from hedgerow.gateway.local.processes.template_process import ANSWER, REQUEST, be_template

_PR_SET_CHILD_SUBREAPER = 36
_UNDO_S = 2.0  # how long a template may take to answer for a process that is not wanted any more


class TemplateLostError(Exception):
    """The template process has ended without doing what it was asked to."""


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """What a forked process is to run.

    Attributes:
        name: the name of the process in `ps -o comm`.
        module: the module whose function `run_with` is called.
        options: that function's arguments, with `PARENT_PIPE` for that descriptor's number.
        environment: all variables of the process.
    """

    name: str
    module: str
    options: Mapping[str, str | int | None]
    environment: Mapping[str, str]


class Process(Protocol):
    """A process to wait for, started in either way."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal; None until its end is known."""

    async def wait(self) -> int:
        """Wait for its end; returns the return code."""


class Template:
    """Forks children of this process that have already imported their modules."""

    def __init__(self, control: socket.socket, pid: int) -> None:
        self.pid = pid
        self._control: socket.socket | None = control
        self._turn = asyncio.Lock()

    @classmethod
    @contextmanager
    def started(cls, modules: Sequence[str]) -> "Iterator[Template | None]":
        """Run a template process during the block.

        It is forked from this process, so start it before any thread or event loop, and before
        anything is logged.

        Args:
            modules: modules to import, in addition to those that this process has imported.

        Returns:
            The client; None if the system does not support it: then start processes by exec.
        """
        template = cls._start(modules)
        try:
            yield template
        finally:
            if template is not None:
                template.close()
                os.kill(template.pid, signal.SIGKILL)  # it may be stopped, and has no more work
                os.waitpid(template.pid, 0)

    @classmethod
    def _start(cls, modules: Sequence[str]) -> "Template | None":
        if not _is_possible():
            return None
        for module in modules:
            importlib.import_module(module)
        ours, theirs = socket.socketpair()
        share_pages()
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError):  # it is missing, or its reader has gone
                stream.flush()
        try:
            pid = os.fork()
        except OSError:  # no process or memory available for now
            ours.close()
            theirs.close()
            return None
        if pid == 0:
            ours.close()
            be_template(theirs)
        theirs.close()
        release_files()  # of what only the template's forks will use
        ours.setblocking(False)
        return cls(ours, pid)

    @property
    def is_alive(self) -> bool:
        """Whether it runs, as far as is known."""
        return self._control is not None

    def close(self) -> None:
        """End it; the processes that it has forked live on."""
        if self._control is not None:
            self._control.close()
            self._control = None

    async def fork(self, request: ForkRequest, descriptors: Sequence[int]) -> Process:
        """Fork a process, which leads a session of its own.

        Args:
            request: what it runs.
            descriptors: of its parent pipe, its lock, and the file of its output; the caller still
                closes its own.

        Raises:
            TemplateLostError: the template process has ended.
            OSError: it cannot be forked for now.
        """
        async with self._turn:
            if self._control is None:
                raise TemplateLostError
            with _adopting_orphans(), _request_file(request) as file:
                asking = asyncio.ensure_future(
                    self._ask(self._control, [file.fileno(), *descriptors])
                )
                try:
                    await asyncio.wait([asking])
                    pid = asking.result()
                except asyncio.CancelledError:
                    await _undo(asking)
                    raise
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return ForkedProcess(pid)

    async def _ask(self, control: socket.socket, descriptors: list[int]) -> int:
        try:
            socket.send_fds(control, [REQUEST], descriptors)
            answer = await _receive(control, ANSWER.size)
        except ConnectionError as error:
            self.close()
            raise TemplateLostError from error
        except BaseException:
            self.close()  # cancelled: a late answer would be taken for the next request's
            raise
        return int(ANSWER.unpack(answer)[0])


class ForkedProcess:
    """A child that the template process has forked for us."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._returncode: int | None = None
        self._has_ended = asyncio.Event()
        try:
            self._descriptor = os.pidfd_open(pid)
        except OSError:  # too many open files, so that its end would go unnoticed
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        asyncio.get_running_loop().add_reader(self._descriptor, self._reap)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal; None while it runs."""
        return self._returncode

    async def wait(self) -> int:
        """Wait for its end; returns the return code."""
        await self._has_ended.wait()
        assert self._returncode is not None  # noqa: S101 - set before the event
        return self._returncode

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        _, status = os.waitpid(self._pid, 0)
        self._returncode = os.waitstatus_to_exitcode(status)
        self._has_ended.set()


async def _undo(asking: asyncio.Task[int]) -> None:
    """End the process that a template was asked for; left alone, nothing would know of it."""
    await asyncio.wait([asking], timeout=_UNDO_S)
    if not asking.done():  # the template hangs; this closes it
        asking.cancel()
        await asyncio.wait([asking])
    elif not asking.cancelled() and asking.exception() is None and asking.result() > 0:
        process = ForkedProcess(asking.result())
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()


async def _receive(control: socket.socket, size: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < size:
        more = await loop.sock_recv(control, size - len(data))
        if not more:
            raise ConnectionResetError
        data += more
    return data


def _is_possible() -> bool:
    """Return whether this is Linux 5.3 or newer, and no sandbox forbids what is needed."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
        os.close(os.memfd_create("hedgerow"))
        _set_subreaper(is_on=False)
    except (AttributeError, OSError):  # an old kernel, or a sandbox that forbids it
        return False
    return True


def _set_subreaper(*, is_on: bool) -> None:
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(is_on), 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER)")


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Become the parent of orphaned descendants during the block.

    Only that long, so that init still reaps the scorers of a worker that has died.
    """
    _set_subreaper(is_on=True)
    try:
        yield
    finally:
        _set_subreaper(is_on=False)


@contextmanager
def _request_file(request: ForkRequest) -> Iterator[IO[bytes]]:
    """Write the request to a file in memory, since its environment may contain a token."""
    with os.fdopen(os.memfd_create("hedgerow", os.MFD_CLOEXEC), "w+b") as file:
        asked = {
            "name": request.name,
            "module": request.module,
            "options": dict(request.options),
            "environment": dict(request.environment),
        }
        file.write(json.dumps(asked).encode())
        file.seek(0)
        yield file
