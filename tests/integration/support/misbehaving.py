"""A handler for scorer processes that does, on command, what no handler should.

A payload is "name command [argument]"; before the command runs, its name is noted in the journal
file, so that a test sees how often each task was started, and in which process.
"""

import ctypes
import mmap
import os
import resource
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hedgerow.common.errors import ExpiredError, RankingError
from hedgerow.shard_worker.executors.process_pool.budget import Budget

Handler = Callable[[bytes, Budget], bytes]


@dataclass(frozen=True)
class Config:
    """Where the handler keeps its journal and looks for flags."""

    folder: str

    @property
    def journal(self) -> Path:
        """One line for each start of a task: its name and the process."""
        return Path(self.folder) / "journal"

    @property
    def broken(self) -> Path:
        """While this file exists, `make` fails; it notes each try in the journal."""
        return Path(self.folder) / "broken"

    @property
    def held(self) -> Path:
        """While this file exists, `make` does not return; it notes each try in the journal."""
        return Path(self.folder) / "held"

    @property
    def taken_apart(self) -> Path:
        """The file that a `Mourned` leaves."""
        return Path(self.folder) / "taken-apart"

    def starts(self) -> Counter[str]:
        """How often each task was started."""
        if not self.journal.exists():
            return Counter()
        return Counter(line.split()[0] for line in self.journal.read_text().splitlines())

    def pids(self, name: str) -> list[int]:
        """The processes that started this task, in order."""
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return [int(pid) for noted, pid in lines if noted == name]


def echo(_config: object) -> Handler:
    """A handler that returns what it gets."""
    return lambda payload, _budget: payload


def show(_config: object) -> Callable[[object, Budget], bytes]:
    """A handler that returns the `repr` of what it gets."""
    return lambda payload, _budget: repr(payload).encode()


def make(config: Config) -> Handler:
    """A handler that obeys commands; fails, or waits, while the config's flag for it is there."""
    if config.broken.exists():
        note(config, "broken-start")
        raise RuntimeError("the index is locked")
    if config.held.exists():
        note(config, "held-start")
    while config.held.exists():
        time.sleep(0.001)
    kept: list[Budget] = []

    def handle(payload: bytes, budget: Budget) -> bytes:
        name, command, argument = (*payload.decode().split(" ", 2), "")[:3]
        note(config, name)
        return COMMANDS[command](Call(config, budget, name, argument, kept))

    return handle


class Mourned:
    """A handler that leaves a file when it is taken apart."""

    def __init__(self, config: Config) -> None:
        """Leave the config's file."""
        self._mark = config.taken_apart

    def __call__(self, payload: bytes, _budget: Budget) -> bytes:
        """Return what it gets."""
        return payload

    def __del__(self) -> None:
        """Leave the file."""
        self._mark.touch()


def raise_at_start(_config: object) -> Handler:
    """A factory that fails."""
    raise RuntimeError("no such index")


def unspeakable_at_start(_config: object) -> Handler:
    """A factory that fails with text that UTF-8 cannot encode."""
    raise RuntimeError("no index " + os.fsdecode(b"\xff"))


def exit_at_start(_config: object) -> Handler:
    """A factory that kills its process."""
    os._exit(7)


def note(config: Config, name: str) -> None:
    """Append to the journal in one write, so that lines of several processes do not mix."""
    fd = os.open(config.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{name} {os.getpid()}\n".encode())
    os.close(fd)


@dataclass(frozen=True)
class Call:
    """What a command knows: `kept` are the budgets of earlier tasks in this process."""

    config: Config
    budget: Budget
    name: str
    argument: str
    kept: list[Budget]


def _echo(call: Call) -> bytes:
    return call.name.encode()


def _exit(call: Call) -> bytes:
    os._exit(3)


def _segfault(call: Call) -> bytes:
    ctypes.string_at(0)
    raise AssertionError("address 0 was read")


def _kill(call: Call) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("survived SIGKILL")


def _system_exit(call: Call) -> bytes:
    sys.exit(4)


def _crash_first(call: Call) -> bytes:
    if call.config.starts()[call.name] == 1:
        os._exit(3)
    return call.name.encode()


def _leave_child(call: Call) -> bytes:
    """Die, but leave a process behind that holds every descriptor of this one."""
    if os.fork() == 0:
        time.sleep(float(call.argument))
        os._exit(0)
    os._exit(3)


def _burn(call: Call) -> bytes:
    """Compute until this process has used this many more seconds of CPU."""
    until = time.process_time() + float(call.argument)
    while time.process_time() < until:
        pass
    return call.name.encode()


def _burn_elsewhere(call: Call) -> bytes:
    """The same, in a thread of its own while this one waits."""
    thread = threading.Thread(target=_burn, args=(call,))
    thread.start()
    thread.join()
    return call.name.encode()


def _spin_counting(call: Call) -> bytes:
    """Never return, and keep writing the CPU time of this task to the file `cpu`, in s."""
    started = time.process_time()
    with (Path(call.config.folder) / "cpu").open("w+b", buffering=0) as file:
        while True:
            os.pwrite(file.fileno(), b"%12.6f" % (time.process_time() - started), 0)


def _spin(call: Call) -> bytes:
    while True:
        pass


def _sleep(call: Call) -> bytes:
    time.sleep(float(call.argument))
    return call.name.encode()


def _obey(call: Call) -> bytes:
    while not call.budget.expired():
        time.sleep(0.001)
    raise ExpiredError("obeyed")


def _ignore_tripped(call: Call) -> bytes:
    """Return a body although `call.budget` has expired."""
    while not call.budget.expired():
        time.sleep(0.001)
    return call.name.encode()


def _linger(call: Call) -> bytes:
    """Compute for this many seconds of CPU once `call.budget` has expired."""
    while not call.budget.expired():
        time.sleep(0.001)
    return _burn(call)


def _ranking_error(call: Call) -> bytes:
    raise RankingError("boost: division by zero")


def _value_error(call: Call) -> bytes:
    raise ValueError("bad shard")


def _unspeakable(call: Call) -> bytes:
    """Raise text that UTF-8 cannot encode: the name of a file that is not UTF-8."""
    kind = RankingError if call.argument == "ranking" else ValueError
    raise kind("no file " + os.fsdecode(b"\xff"))


_leaked: list[bytes] = []


def _leak(call: Call) -> bytes:
    """Keep this many MB for ever; zeros would take no memory until they are written to."""
    _leaked.append(os.urandom(int(call.argument) * 1_000_000))
    return call.name.encode()


_mapped: list[mmap.mmap] = []


def _map(call: Call) -> bytes:
    """Map a file of this many MB and read all of it, as an index is."""
    size = int(call.argument) * 1_000_000
    with (Path(call.config.folder) / "index").open("w+b") as file:
        file.truncate(size)
        memory = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    _mapped.append(memory)
    assert not any(memory[at] for at in range(0, size, mmap.PAGESIZE))
    return call.name.encode()


def _await_file(call: Call) -> bytes:
    """Go on once there is a file of this name."""
    while not (Path(call.config.folder) / call.argument).exists():
        time.sleep(0.001)
    return call.name.encode()


def _exhaust(call: Call) -> bytes:
    """Take memory without end, in a process that may have this many MiB more than now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + int(call.argument) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    taken = []
    try:
        while True:
            taken.append(bytearray(2**20))
    finally:
        note(call.config, f"{call.name}-exhausted")


def _no_bytes(call: Call) -> bytes:
    return "text"  # type: ignore[return-value]  # it is what a careless handler does


def _remaining(call: Call) -> bytes:
    call.kept.append(call.budget)
    return repr(call.budget.remaining_s()).encode()


def _ask_first_budget(call: Call) -> bytes:
    return repr(
        (call.kept[0].expired(), call.kept[0].remaining_s(), call.budget.expired())
    ).encode()


COMMANDS: dict[str, Callable[[Call], bytes]] = {
    "echo": _echo,
    "exit": _exit,
    "segfault": _segfault,
    "kill": _kill,
    "system-exit": _system_exit,
    "crash-first": _crash_first,
    "leave-child": _leave_child,
    "spin": _spin,
    "spin-counting": _spin_counting,
    "burn": _burn,
    "burn-elsewhere": _burn_elsewhere,
    "sleep": _sleep,
    "obey": _obey,
    "ignore-tripped": _ignore_tripped,
    "linger": _linger,
    "ranking-error": _ranking_error,
    "value-error": _value_error,
    "unspeakable": _unspeakable,
    "leak": _leak,
    "map": _map,
    "await-file": _await_file,
    "exhaust": _exhaust,
    "no-bytes": _no_bytes,
    "remaining": _remaining,
    "ask-first-budget": _ask_first_budget,
}
