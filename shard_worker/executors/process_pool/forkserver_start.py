"""Starts forkservers: by forks made before there are threads and a loop, or by a new interpreter.

A forkserver that is forked from its worker shares the pages of everything that the worker has
imported, and is ready at once; a new interpreter takes some 10 MB and 0.3 s. The worker must fork
before it starts threads, so the forks wait, each at one end of a socket, until a lane takes them. A
lane that loses its forkserver, or starts when none is waiting, gets a new interpreter.
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
from hedgerow.shard_worker.executors.process_pool.forkserver import BOOTSTRAP, run_forkserver

_MAX_DESCRIPTORS = 65_536


class ForkserverProcess(Protocol):
    """A forkserver, however it was started."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def kill(self) -> None:
        """SIGKILL it, unless it has been waited for."""

    def wait(self) -> object:
        """Wait for its end."""


# Starts a forkserver for the lane of a name; returns it, and our end of its socket.
# OSError: it cannot be started now.
Start = Callable[[str], tuple[ForkserverProcess, socket.socket]]


def start_interpreter(
    name: str, launch: Callable[..., ForkserverProcess] = subprocess.Popen
) -> tuple[ForkserverProcess, socket.socket]:
    """Start a forkserver in a new interpreter, which takes about a millisecond.

    Args:
        name: the lane's.
        launch: starts a process, as `subprocess.Popen` does.

    Raises:
        OSError: it cannot be started now.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs, os.fdopen(open_shared_file(), "w+b") as standard_input:
            pickle.dump((sys.path, theirs.fileno()), standard_input)
            standard_input.seek(0)
            process = launch(
                [sys.executable, "-c", BOOTSTRAP, name],
                stdin=standard_input,
                pass_fds=(theirs.fileno(),),
            )
    except BaseException:
        ours.close()
        raise
    return process, ours


class WaitingForkservers:
    """Forkservers that were forked early; called as `start_interpreter` is, it gives one away."""

    def __init__(self) -> None:
        self._waiting: list[tuple[EarlyForkserver, socket.socket]] = []

    def __call__(self, name: str) -> tuple[ForkserverProcess, socket.socket]:
        """Give away a forkserver that waits, or else start an interpreter."""
        return self._waiting.pop() if self._waiting else start_interpreter(name)

    @classmethod
    @contextlib.contextmanager
    def forked(cls, number: int) -> "Iterator[WaitingForkservers]":
        """Fork some forkservers, while this process has no other thread and no loop.

        Those that no lane has taken end with the block.
        """
        forkservers = cls()
        try:
            with contextlib.suppress(OSError):  # no process is left: interpreters are tried later
                for _ in range(number):
                    forkservers._fork()
            yield forkservers
        finally:
            for process, control in forkservers._waiting:
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
            _be_forkserver(theirs)
        theirs.close()
        self._waiting.append((EarlyForkserver(pid), ours))


class EarlyForkserver:
    """A forkserver that this process has forked."""

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


def _be_forkserver(control: socket.socket) -> NoReturn:
    status = 1
    try:
        # What the worker holds open is the worker's: its lock says that it lives.
        os.closerange(3, control.fileno())
        os.closerange(control.fileno() + 1, _MAX_DESCRIPTORS)
        run_forkserver(control)
        status = 0
    except BaseException:  # noqa: BLE001 - it must not return into the worker's code
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)
