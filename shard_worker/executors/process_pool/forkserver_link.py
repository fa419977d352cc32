"""The worker's end of its forkserver: starts it, sends orders, receives how scorers end."""

import asyncio
import contextlib
import os
import pickle
import signal
import socket
from typing import Protocol

import structlog

from hedgerow.shard_worker.executors.process_pool.budget import open_shared_file
from hedgerow.shard_worker.executors.process_pool.forkserver import (
    EVENT,
    LANE,
    ORDER,
    Event,
    ForkserverSpec,
    Order,
)
from hedgerow.shard_worker.executors.process_pool.forkserver_start import ForkserverProcess, Start

_log = structlog.get_logger()

# A forkserver ends within `_GRACE_S` (in `forkserver`), unless it is stopped or starved of CPU.
_END_TIMEOUT_S = 5.0


class ForkserverListener(Protocol):
    """Receives what happens to scorers; always called on the event loop."""

    def on_started(self, number: int, pid: int) -> None:
        """The scorer exists; it has not made its handler yet."""

    def on_ended(self, number: int, status: int | None) -> None:
        """The scorer has ended; `status` as of waitpid(2), None if it is unknown."""

    def on_forkserver_lost(self) -> None:
        """The forkserver died, and every scorer with it; `on_ended` does not follow."""


class ForkserverLink:
    """The connection to one forkserver."""

    def __init__(self, spec: ForkserverSpec, memory_fd: int, start: Start) -> None:
        """`start` starts the process, which gets `spec` and maps the file of `memory_fd`."""
        self._spec = spec
        self._memory_fd = memory_fd
        self._start = start
        self._process: ForkserverProcess | None = None
        self._control: socket.socket | None = None
        self._received = b""
        self._gone = asyncio.Event()
        self._is_ending = False
        self._listener: ForkserverListener | None = None

    def start(self, listener: ForkserverListener) -> None:
        """Start the process, which takes about a millisecond; does not wait until it is ready.

        Raises:
            OSError: it cannot be started now.
        """
        self._listener = listener
        with os.fdopen(open_shared_file(), "w+b") as file:
            pickle.dump(self._spec, file)
            file.seek(0)
            self._process, control = self._start(self._spec.scorer.name)
            with contextlib.suppress(OSError):  # it has ended already; its EOF says so
                socket.send_fds(control, [LANE], [file.fileno(), self._memory_fd])
        control.setblocking(False)
        self._control = control
        asyncio.get_running_loop().add_reader(control, self._on_readable)

    def start_scorer(self, number: int, slot: int, channel: socket.socket) -> None:
        """Have a scorer forked that serves `channel`; the caller closes its own copy of that."""
        if self._control is not None:
            with contextlib.suppress(OSError):  # the forkserver is gone; its EOF says so
                order = ORDER.pack(Order.START, number, slot)
                socket.send_fds(self._control, [order], [channel.fileno()])

    def kill_scorer(self, number: int) -> None:
        """SIGKILL a scorer, unless it has ended."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(ORDER.pack(Order.KILL, number, 0))

    def kill(self) -> None:
        """SIGKILL the forkserver, which has stopped obeying; `on_forkserver_lost` follows."""
        if self._process is not None:
            self._process.kill()

    async def end(self) -> None:
        """Let the forkserver end, and with it every scorer; returns when all are gone."""
        if self._process is None:
            return
        self._is_ending = True
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_WR)
            try:
                await asyncio.wait_for(self._gone.wait(), _END_TIMEOUT_S)
            except TimeoutError:
                _log.warning("launcher_killed", lane=self._spec.scorer.name)
                self._process.kill()
                await self._gone.wait()
        self._process.wait()

    def _on_readable(self) -> None:
        assert self._control is not None  # noqa: S101 - the reader is removed with it
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        assert self._listener is not None  # noqa: S101 - set by start
        data = self._received + data
        whole = len(data) - len(data) % EVENT.size
        self._received = data[whole:]
        for event, number, value in EVENT.iter_unpack(data[:whole]):
            if event == Event.STARTED:
                self._listener.on_started(number, value)
            elif event == Event.ENDED:
                self._listener.on_ended(number, None if value == -1 else value)

    def _lose(self) -> None:
        assert self._control is not None  # noqa: S101
        assert self._process is not None  # noqa: S101
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        self._control = None
        self._gone.set()
        if self._is_ending:
            return
        # Its socket is closed because it is ending, so the wait is short; a forkserver that has
        # closed it for another reason must not live on.
        self._process.kill()
        self._process.wait()
        assert self._listener is not None  # noqa: S101
        self._listener.on_forkserver_lost()


def describe_status(status: int | None) -> str:
    """How a scorer ended, in words, from its status as of waitpid(2)."""
    if status is None:
        return "ended; how is unknown"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal: most have no name
        return f"was killed by signal {-code}"
