"""The forkserver: a small process of one thread that forks a lane's scorers and reaps them.

It imports once what scorers need, and forks on demand, as multiprocessing's forkserver does. So a
replacement starts in milliseconds and shares its pages. multiprocessing's own forkserver is not
used: starting a process through it blocks the caller (here, the event loop) until the fork has
happened; it imports the program's `__main__` again in every child; it lives on for as long as a
hung child does, even after the program has ended; and it needs a second process, the resource
tracker.

What happens when a process ends:
- the worker ends, for any reason: the forkserver reads EOF, gives the scorers a moment to end by
  themselves (they read EOF, too), kills the rest and ends;
- the forkserver ends: Linux kills its scorers (PR_SET_PDEATHSIG), elsewhere the worker does;
- a scorer ends: the forkserver reaps it and reports to the worker how it ended. Only the forkserver
  signals scorers, and only before it has reaped them, so a signal never hits a reused pid.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass
from enum import IntEnum

from hedgerow.shard_worker.executors.process_pool.budget import SharedBudgets
from hedgerow.shard_worker.executors.process_pool.forkserver_forks import FurtherForkservers
from hedgerow.shard_worker.executors.process_pool.scorer_process import (
    Handler,
    ScorerSpec,
    run_scorer,
)

# worker → forkserver, first: this byte, with the descriptors of a file that has the pickled
# ForkserverSpec, and of the file of the shared memory.
LANE = b"L"
# worker → forkserver: an `Order`, scorer's number, slot; a START carries the scorer's socket.
ORDER = struct.Struct("!BII")
# forkserver → worker: an `Event`, scorer's number, its pid or its status as waitpid gives it (-1 if
# it could not be forked).
EVENT = struct.Struct("!BIi")


class Order(IntEnum):
    """What the forkserver is to do with a scorer."""

    START = 1
    KILL = 2


class Event(IntEnum):
    """What has happened to a scorer."""

    STARTED = 1
    ENDED = 2


# What a new interpreter runs: find the worker's modules, then this one, which has a socket open.
BOOTSTRAP = (
    "import pickle,socket,sys;sys.path[:],control=pickle.load(sys.stdin.buffer);"
    "from hedgerow.shard_worker.executors.process_pool.forkserver import run_forkserver;"
    "run_forkserver(socket.socket(fileno=control))"
)

_GRACE_S = 0.5
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


@dataclass(frozen=True, slots=True)
class ForkserverSpec:
    """What a forkserver needs to know.

    Attributes:
        scorer: what every scorer runs.
        num_scorers: how many regions the shared memory has.
        max_batch: tasks for which each region has room.
        path: folders in which modules are searched for.
    """

    scorer: ScorerSpec
    num_scorers: int
    max_batch: int
    path: tuple[str, ...]


def run_forkserver(control: socket.socket, further: FurtherForkservers | None = None) -> None:
    """Serve as the forkserver of one lane, until the worker closes `control`.

    With `further`, fork further forkservers meanwhile and afterwards, until the worker ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    devnull = os.open(os.devnull, os.O_RDONLY)
    os.dup2(devnull, 0)
    os.close(devnull)
    _name_process("launcher")
    lane, descriptors, _, _ = socket.recv_fds(control, len(LANE), 2)
    if not lane:
        return
    spec_fd, memory_fd = descriptors
    with os.fdopen(spec_fd, "rb") as file:
        spec: ForkserverSpec = pickle.load(file)  # noqa: S301 - written by the worker
    sys.path[:] = spec.path
    _name_process(f"{spec.scorer.name}-launcher")
    with contextlib.suppress(Exception):  # a scorer that fails to import it says so
        _import(spec.scorer.factory.partition(":")[0], spec.scorer.nice)
    gc.collect()
    gc.freeze()  # pages that no collector writes to stay shared with the scorers
    memory = SharedBudgets(memory_fd, spec.num_scorers, spec.max_batch)
    os.close(memory_fd)
    _Forkserver(spec, memory, control, further).run()


def _import(module: str, nice: int) -> None:
    """Import a module; as nice as scorers, beside those of other workers and lanes."""
    if nice and sys.platform == "linux" and module not in sys.modules:
        # In a thread, which has a nice value of its own there, and has ended before the first fork:
        # what is forked makes itself nicer, too, and a process cannot go back.
        thread = threading.Thread(target=_import_nicely, args=(module, nice))
        thread.start()
        thread.join()
    importlib.import_module(module)


def _import_nicely(module: str, nice: int) -> None:
    own = threading.get_native_id()
    with contextlib.suppress(OSError):  # not allowed here
        os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + nice)
    with contextlib.suppress(Exception):  # it is imported once more by those who say what is wrong
        importlib.import_module(module)


class _Forkserver:
    def __init__(
        self,
        spec: ForkserverSpec,
        memory: SharedBudgets,
        control: socket.socket,
        further: FurtherForkservers | None,
    ) -> None:
        self._spec = spec
        self._memory = memory
        self._control = control
        self._further = further
        self._pids: dict[int, int] = {}  # scorer's number → pid
        self._kept: Handler | None = None  # in a scorer
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)

    def run(self) -> None:
        # SIGCHLD wakes poll(2) through the pipe; its handler has nothing to do.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_w)
        ready = select.poll()
        ready.register(self._control, select.POLLIN)
        ready.register(self._wake_r, select.POLLIN)
        further, is_wanted = self._further, True
        if further is not None:
            ready.register(further, select.POLLIN)
        while is_wanted:
            for fd, _ in ready.poll():
                if fd == self._wake_r:
                    self._reap()
                elif fd == self._control.fileno():
                    is_wanted = self._obey()
                elif further is not None:
                    further.obey()
                    if not further.is_wanted:
                        ready.unregister(further)
        self._end()
        if further is not None:
            further.run(self._wake_r)

    def _obey(self) -> bool:
        try:
            order, fds, _, _ = socket.recv_fds(self._control, ORDER.size, 1)
        except ConnectionResetError:
            return False
        if len(order) < ORDER.size:
            return False
        what, number, slot = ORDER.unpack(order)
        if what == Order.START:
            self._start(number, slot, fds[0])
        elif number in self._pids:
            os.kill(self._pids[number], signal.SIGKILL)
        return True

    def _start(self, number: int, slot: int, channel_fd: int) -> None:
        forkserver_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            sys.stderr.write(f"{self._spec.scorer.name}: cannot fork: {error}\n")
            os.close(channel_fd)
            self._tell(Event.ENDED, number, -1)
            return
        if pid == 0:
            self._be_scorer(forkserver_pid, slot, channel_fd)
        os.close(channel_fd)
        self._pids[number] = pid
        self._tell(Event.STARTED, number, pid)

    def _be_scorer(self, forkserver_pid: int, slot: int, channel_fd: int) -> None:
        status = 1
        try:
            _die_with(forkserver_pid)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            os.close(self._wake_r)
            os.close(self._wake_w)
            if self._further is not None:
                self._further.leave()
            _name_process(self._spec.scorer.name)
            channel = socket.socket(fileno=channel_fd)
            self._kept = run_scorer(self._spec.scorer, channel, self._memory.regions[slot])
            status = 0
        except BaseException:  # noqa: BLE001 - a fork must never return into the forkserver's loop
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_r, 4096)
        for number, pid in list(self._pids.items()):
            reaped, status = os.waitpid(pid, os.WNOHANG)
            if reaped:
                del self._pids[number]
                self._tell(Event.ENDED, number, status)
        if self._further is not None:
            self._further.reap()

    def _tell(self, event: Event, number: int, value: int) -> None:
        with contextlib.suppress(OSError):  # the worker is gone; its EOF comes next
            self._control.sendall(EVENT.pack(event, number, value))

    def _end(self) -> None:
        """The worker hung up or died: idle scorers end by themselves, the rest is killed."""
        deadline = time.monotonic() + _GRACE_S
        while self._pids and (left_s := deadline - time.monotonic()) > 0:
            select.select([self._wake_r], [], [], left_s)
            self._reap()
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)
        for pid in self._pids.values():
            os.waitpid(pid, 0)
        self._pids.clear()
        self._memory.close()
        self._control.close()  # the worker reads EOF when everything is gone


def _die_with(forkserver_pid: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != forkserver_pid:  # it died before the call
            os._exit(1)


def _name_process(name: str) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15])
