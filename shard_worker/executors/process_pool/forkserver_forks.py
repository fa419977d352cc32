"""Forks further forkservers, in one that was forked early: for lanes that start later.

A split and a reload start lanes while the worker serves, when it has threads and can no longer fork
itself. A new interpreter would take 0.3 s of CPU and 10 MB for each; a fork of the first
forkserver, which has one thread, takes some milliseconds and shares its pages.

    worker ► an order, with the end of a socket ► the first forkserver forks one that serves it
        ► worker: the new one's pidfd

The first forkserver is the parent of the others and reaps them, so it lives as long as the worker,
also after its own lane. If it is killed, they go on. The worker signals them by their pidfds, which
never mean another process, however long ago they were reaped.
"""

import contextlib
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import Final, NoReturn

# worker → first forkserver: the number of a forkserver, with the descriptor of its socket.
FORK: Final = struct.Struct("!I")
# first forkserver → worker: the number, and the pid, with the pidfd; a pid of 0 and no pidfd if it
# could not be forked.
FORKED: Final = struct.Struct("!II")

_END_S: Final = 1.0  # longer than a forkserver gives its scorers to end

Serve = Callable[[socket.socket], NoReturn]


def can_fork_further() -> bool:
    """Whether this system has what it takes: pidfds, of Linux 5.3 and later."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


class FurtherForkservers:
    """The forkservers that this one has forked."""

    def __init__(self, link: socket.socket, serve: Serve) -> None:
        """Take orders from `link`; in a fork, `serve` serves a lane as its forkserver."""
        self._link = link
        self._serve = serve
        self._pids: set[int] = set()
        self.is_wanted = True

    def fileno(self) -> int:
        """Is readable when there is an order."""
        return self._link.fileno()

    def obey(self) -> None:
        """Carry out the next order; clears `is_wanted` if there will be none."""
        try:
            order, fds, _, _ = socket.recv_fds(self._link, FORK.size, 1)
        except ConnectionResetError:
            order, fds = b"", []
        if len(order) < FORK.size or not fds:
            self.is_wanted = False
            return
        (number,) = FORK.unpack(order)
        with socket.socket(fileno=fds[0]) as control:
            self._fork(number, control)

    def leave(self) -> None:
        """Close, in a scorer, what is the forkserver's."""
        self._link.close()

    def reap(self) -> None:
        """Reap those that have ended."""
        for pid in list(self._pids):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._pids.discard(pid)

    def run(self, wake_fd: int) -> None:
        """Go on alone, until there will be no more orders; `wake_fd` is readable after SIGCHLD."""
        while self.is_wanted:
            for fd in select.select([self.fileno(), wake_fd], [], [])[0]:
                if fd == wake_fd:
                    self._reap_woken(wake_fd)
                else:
                    self.obey()
        self._end(wake_fd)

    def _fork(self, number: int, control: socket.socket) -> None:
        try:
            pid = os.fork()
        except OSError:
            self._tell(number, 0, [])
            return
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._serve(control)
        self._pids.add(pid)
        try:
            pidfd = os.pidfd_open(pid)  # it is not reaped yet
        except OSError:  # no descriptor is left
            os.kill(pid, signal.SIGKILL)
            self._tell(number, 0, [])
            return
        self._tell(number, pid, [pidfd])
        os.close(pidfd)

    def _tell(self, number: int, pid: int, fds: list[int]) -> None:
        # Before the worker can read from the new socket that its other end was closed.
        with contextlib.suppress(OSError):  # the worker is gone; the end of its orders comes next
            socket.send_fds(self._link, [FORKED.pack(number, pid)], fds)

    def _end(self, wake_fd: int) -> None:
        """The worker has ended or died: the others end by themselves, or are killed."""
        deadline = time.monotonic() + _END_S
        self.reap()
        while self._pids and (left_s := deadline - time.monotonic()) > 0:
            select.select([wake_fd], [], [], left_s)
            self._reap_woken(wake_fd)
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self._pids:
            os.waitpid(pid, 0)

    def _reap_woken(self, wake_fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(wake_fd, 4096)
        self.reap()
