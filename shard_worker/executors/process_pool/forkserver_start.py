"""Starts forkservers: by forks made before there are threads and a loop, or by a new interpreter.

A forkserver that is forked from its worker shares the pages of everything that the worker has
imported, and is ready at once; a new interpreter takes some 10 MB and 0.3 s. The worker must fork
before it starts threads, so the forks wait, each at one end of a socket, until a lane takes them. A
lane that loses its forkserver, or starts when none is waiting, gets a fork of the first one
(`forkserver_forks`). If that is lost, or the system has no pidfds, it gets a new interpreter.
"""

import contextlib
import itertools
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol

from hedgerow.shard_worker.executors.process_pool.budget import open_shared_file
from hedgerow.shard_worker.executors.process_pool.forkserver import BOOTSTRAP, run_forkserver
from hedgerow.shard_worker.executors.process_pool.forkserver_forks import (
    FORK,
    FORKED,
    FurtherForkservers,
    can_fork_further,
)

_MAX_DESCRIPTORS = 65_536
_END_TIMEOUT_S = 5.0  # a forkserver ends sooner, unless it is stopped or starved of CPU


class ForkserverProcess(Protocol):
    """A forkserver, however it was started."""

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
        self._first: FirstForkserver | None = None

    def __call__(self, name: str) -> tuple[ForkserverProcess, socket.socket]:
        """Give away a forkserver that waits; or else have one forked, or start an interpreter."""
        if self._waiting:
            return self._waiting.pop()
        if self._first is not None:
            with contextlib.suppress(OSError):  # it was lost
                return self._first.fork()
        return start_interpreter(name)

    @classmethod
    @contextlib.contextmanager
    def forked(cls, number: int) -> "Iterator[WaitingForkservers]":
        """Fork some forkservers, while this process has no other thread and no loop.

        The one that is forked first is given away last. Those that no lane has taken end with the
        block.
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
            if forkservers._first is not None:
                forkservers._first.end()

    def _fork(self) -> None:
        with contextlib.ExitStack() as opened:
            ours, theirs = socket.socketpair()
            opened.callback(ours.close)
            opened.callback(theirs.close)
            link: socket.socket | None = None
            if self._first is None and can_fork_further():
                link, their_link = socket.socketpair()
                opened.callback(link.close)
                opened.callback(their_link.close)
            pid = os.fork()
            if pid == 0:
                _be_forkserver(theirs, None if link is None else their_link)
            theirs.close()
            if link is not None:
                their_link.close()
            opened.pop_all()
        process = EarlyForkserver(pid)
        if link is not None:
            process = self._first = FirstForkserver(pid, link)
        self._waiting.append((process, ours))


class EarlyForkserver:
    """A forkserver that this process has forked."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._has_ended = False

    def kill(self) -> None:
        """SIGKILL it, unless it has been waited for."""
        if not self._has_ended:
            os.kill(self._pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait for its end."""
        if not self._has_ended:
            os.waitpid(self._pid, 0)
            self._has_ended = True


class FirstForkserver(EarlyForkserver):
    """The forkserver that forks further ones: it goes on when its own lane has ended."""

    def __init__(self, pid: int, link: socket.socket) -> None:
        """Give it orders by `link`."""
        super().__init__(pid)
        link.setblocking(False)
        self._link: socket.socket | None = link
        self._last = 0
        self._pidfds: dict[int, int | None] = {}  # number → pidfd; None if it was not forked

    def fork(self) -> "tuple[ForkedForkserver, socket.socket]":
        """Have a forkserver forked, without waiting until it is; returns our end of its socket.

        Raises:
            OSError: this one was lost, or does not obey.
        """
        if self._link is None:
            raise BrokenPipeError("the first forkserver was lost")
        ours, theirs = socket.socketpair()
        number = self._last + 1
        with theirs:
            try:
                socket.send_fds(self._link, [FORK.pack(number)], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        self._last = number
        return ForkedForkserver(self, number), ours

    def knows(self, number: int) -> bool:
        """Whether a forkserver has been forked, or never will be."""
        self._read()
        return number in self._pidfds or self._link is None

    def pidfd(self, number: int) -> int | None:
        """The pidfd of a forkserver that it has forked; None if there is none."""
        self._read()
        return self._pidfds.get(number)

    def forget(self, number: int) -> None:
        """Close the pidfd of a forkserver."""
        pidfd = self._pidfds.pop(number, None)
        if pidfd is not None:
            os.close(pidfd)

    def kill(self) -> None:
        """SIGKILL it, unless it has been waited for; it forks no more."""
        self._hang_up()
        super().kill()

    def wait(self) -> None:
        """Wait for its end if it was killed; else it goes on until `end`."""
        if self._link is None:
            super().wait()

    def end(self) -> None:
        """Let it end, and wait for that; kill it if it does not."""
        self._hang_up()
        if not self._has_ended:
            ended, pidfd = select.poll(), os.pidfd_open(self._pid)
            ended.register(pidfd, select.POLLIN)
            if not ended.poll(_END_TIMEOUT_S * 1000):
                self.kill()
            os.close(pidfd)
        super().wait()
        for number in list(self._pidfds):
            self.forget(number)

    def _read(self) -> None:
        """Read which forkservers it has forked; what it sent before it was lost is there, too."""
        while self._link is not None:
            try:
                found, fds, _, _ = socket.recv_fds(self._link, FORKED.size, 1)
            except BlockingIOError:
                return
            except OSError:
                found, fds = b"", []
            if len(found) < FORKED.size:
                self._link.close()
                self._link = None
                return
            self._pidfds[FORKED.unpack(found)[0]] = fds[0] if fds else None

    def _hang_up(self) -> None:
        self._read()
        if self._link is not None:
            self._link.close()
            self._link = None


class ForkedForkserver:
    """A forkserver that the first one has forked, or is about to."""

    def __init__(self, first: FirstForkserver, number: int) -> None:
        self._first = first
        self._number = number

    def kill(self) -> None:
        """SIGKILL it; if it was not forked yet, then the first one, which does not obey."""
        if not self._first.knows(self._number):
            self._first.kill()
        elif (pidfd := self._first.pidfd(self._number)) is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def wait(self) -> None:
        """Wait for its end if it has become a child of this process; else its parent does that."""
        pidfd = self._first.pidfd(self._number)
        if pidfd is not None:
            with contextlib.suppress(OSError):
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        self._first.forget(self._number)


def _be_forkserver(control: socket.socket, link: socket.socket | None = None) -> NoReturn:
    status = 1
    try:
        # What the worker holds open is the worker's: its lock says that it lives.
        kept = sorted(one.fileno() for one in (control, link) if one is not None)
        for after, before in itertools.pairwise((2, *kept, _MAX_DESCRIPTORS)):
            os.closerange(after + 1, before)
        further = None if link is None else FurtherForkservers(link, _be_forkserver)
        run_forkserver(control, further)
        status = 0
    except BaseException:  # noqa: BLE001 - it must not return into the worker's code
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)
