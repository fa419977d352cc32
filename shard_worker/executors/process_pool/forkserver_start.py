"""Starts launchers: by forks made before there are threads and a loop, or by a new interpreter.

A launcher that is forked from its worker shares the pages of all that the worker has imported, and
is there at once; a new interpreter takes some 10 MB and 0.3 s. A fork must come before the worker
has threads, so the forks wait, each with one end of a socket, until a lane takes them. A lane that
loses its launcher, or starts where no launcher waits, gets a new interpreter.
"""

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol

from hedgerow.shard_worker.executors.process_pool.budget import open_shared_file
from hedgerow.shard_worker.executors.process_pool.forkserver import BOOTSTRAP, run_launcher

_MAX_DESCRIPTORS = 65_536


class LauncherProcess(Protocol):
    """A launcher, however it was started."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def kill(self) -> None:
        """SIGKILL it, unless it has been waited for."""

    def wait(self) -> object:
        """Wait for its end."""


# Starts a launcher for the lane of a name; returns it, and our end of its socket.
# OSError: it cannot be started now.
Start = Callable[[str], tuple[LauncherProcess, socket.socket]]


def start_interpreter(name: str) -> tuple[LauncherProcess, socket.socket]:
    """Start a launcher in a new interpreter, which takes about a millisecond.

    Raises:
        OSError: it cannot be started now.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs, os.fdopen(open_shared_file(), "w+b") as standard_input:
            pickle.dump((sys.path, theirs.fileno()), standard_input)
            standard_input.seek(0)
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-c", BOOTSTRAP, name],
                stdin=standard_input,
                pass_fds=(theirs.fileno(),),
            )
    except BaseException:
        ours.close()
        raise
    return process, ours


class WaitingLaunchers:
    """Launchers that were forked early; called as `start_interpreter` is, it gives one away."""

    def __init__(self) -> None:
        self._waiting: list[tuple[ForkedLauncher, socket.socket]] = []

    def __call__(self, name: str) -> tuple[LauncherProcess, socket.socket]:
        """Give away a launcher that waits, or else start an interpreter."""
        return self._waiting.pop() if self._waiting else start_interpreter(name)

    @classmethod
    @contextlib.contextmanager
    def forked(cls, number: int) -> "Iterator[WaitingLaunchers]":
        """Some launchers, for the time of the block; this process has no other thread, and no loop.

        Those that no lane has taken end with the block.
        """
        launchers = cls()
        try:
            with contextlib.suppress(OSError):  # no process is left: interpreters are tried later
                for _ in range(number):
                    launchers._fork()
            yield launchers
        finally:
            for process, control in launchers._waiting:
                control.close()
                process.wait()

    def _fork(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            _be_launcher(theirs)
        theirs.close()
        self._waiting.append((ForkedLauncher(pid), ours))


class ForkedLauncher:
    """A launcher that this process has forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._has_ended = False

    def kill(self) -> None:
        """SIGKILL it, unless it has been waited for."""
        if not self._has_ended:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait for its end."""
        if not self._has_ended:
            os.waitpid(self.pid, 0)
            self._has_ended = True


def _be_launcher(control: socket.socket) -> NoReturn:
    status = 1
    try:
        # What the worker holds open is the worker's: its lock says that it lives.
        os.closerange(3, control.fileno())
        os.closerange(control.fileno() + 1, _MAX_DESCRIPTORS)
        run_launcher(control)
        status = 0
    except BaseException:  # noqa: BLE001 - it must not return into the worker's code
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)
