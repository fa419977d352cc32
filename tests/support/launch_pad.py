"""The launch pad: a process that has imported what the entry points import, and forks them.

python -m tests.support.launch_pad DESCRIPTOR PADDING

A new interpreter spends up to a second of CPU on imports, and the tests start several hundred
processes. A fork of this process spends some milliseconds, and then does what a new interpreter
does with the same command line (`tests/support/launching.py` says what is started in this way).
This process has one thread, opens nothing but its socket and configures nothing, so that its forks
find nothing but imported modules. They are its children: it reports how they end.
"""

import atexit
import contextlib
import ctypes
import errno
import fcntl
import gc
import importlib
import importlib.util
import io
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Final

# A message is its length and JSON. A request to start brings the descriptors of the three standard
# streams, and those to be passed on; the answer to it brings one that refers to the process.
LENGTH: Final = struct.Struct("!I")
NUM_STREAMS: Final = 3
_MOST_DESCRIPTORS: Final = 16
_MAX_DESCRIPTORS: Final = 65_536


def main() -> None:
    """Serve until the other end of the socket is closed; returns in each fork, too, to run it."""
    control = socket.socket(fileno=int(sys.argv[1]))
    end = _End()
    atexit.register(end)  # before all imports, so that what they register is called before it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which then close it
    from hedgerow.gateway.cli.main import COMMANDS  # noqa: PLC0415 - as the rest, by this process
    from hedgerow.gateway.local.programs import MODULES  # noqa: PLC0415

    for module in {*MODULES, *(where.partition(":")[0] for where, _ in COMMANDS.values())}:
        with contextlib.suppress(ImportError):  # of an extra that is not installed
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # so that no collector writes to the shared pages
    is_safe = len(list(Path("/proc/self/task").iterdir())) == 1
    try:
        send(control, {"is_safe": is_safe})
    except BrokenPipeError:  # the tests have ended
        return
    asked = _serve(control)
    control.detach()  # closed in a fork
    if asked is not None:
        _run(asked, end)


def _serve(control: socket.socket) -> dict[str, Any] | None:
    """Do what is asked; returns None at the end, and in a fork what that is to run."""
    while True:
        asked, descriptors = receive(control, _MOST_DESCRIPTORS)
        if asked is None:
            return None
        if "ended" in asked:
            pid, status = os.waitpid(asked["ended"], os.WNOHANG)
            send(control, {"status": os.waitstatus_to_exitcode(status) if pid else None})
            continue
        ready_read, ready_write = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            pid = -(error.errno or errno.EAGAIN)
        if pid == 0:
            _prepare(asked, descriptors)
            return asked
        for descriptor in (ready_write, *descriptors):
            os.close(descriptor)
        if pid < 0:
            send(control, {"errno": -pid})
        else:
            os.read(ready_read, 1)  # reads EOF once it is prepared, or has ended
            process = os.pidfd_open(pid)
            send(control, {"pid": pid}, [process])
            os.close(process)
        os.close(ready_read)


def _prepare(asked: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Be to the system what the process that was asked for is."""
    numbers = (*range(NUM_STREAMS), *asked["passed"])
    free = max(numbers) + 1
    aside = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, free) for descriptor in descriptors]
    for number, descriptor in zip(numbers, aside, strict=True):
        os.dup2(descriptor, number)
    for number, limits in asked["limits"]:
        if resource.getrlimit(number) != tuple(limits):
            resource.setrlimit(number, limits)
    if asked["is_leader"]:
        os.setsid()
    os.umask(asked["umask"])
    os.chdir(asked["folder"])
    signal.signal(
        signal.SIGINT, signal.SIG_IGN if asked["ignores_sigint"] else signal.default_int_handler
    )
    _show([sys.executable, *asked["command"]])
    first = NUM_STREAMS
    for number in (*sorted(asked["passed"]), _MAX_DESCRIPTORS):
        os.closerange(first, number)  # which tells the launch pad that this is done
        first = number + 1


class _End:
    """Ends a process before the interpreter frees, and therefore copies, every shared page.

    The interpreter first waits for threads, and calls what else is registered with `atexit`.
    """

    status: int | None = None

    def __call__(self) -> None:
        if self.status is not None:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(self.status)


def _run(asked: dict[str, Any], end: _End) -> None:
    """Do what the interpreter does after its start."""
    os.environ.clear()
    os.environ.update(asked["environment"])
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    _open_streams()
    kind, what, *arguments = asked["command"]
    sys.orig_argv[:] = [sys.executable, kind, what, *arguments]
    sys.modules["__main__"] = program = ModuleType("__main__")
    if kind == "-c":
        sys.path[0] = ""
        sys.argv[:] = ["-c", *arguments]
        code = compile(what, "<string>", "exec")
    else:
        sys.path[0] = str(Path.cwd())
        spec = importlib.util.find_spec(what)
        assert spec is not None
        assert spec.origin is not None
        assert isinstance(spec.loader, InspectLoader)
        sys.argv[:] = [spec.origin, *arguments]
        program.__file__ = spec.origin
        program.__spec__ = spec
        program.__loader__ = spec.loader
        program.__package__ = spec.parent
        found = spec.loader.get_code(what)
        assert found is not None
        code = found
    try:
        exec(code, program.__dict__)
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            end.status = ending.code or 0
        raise
    end.status = 0


def _show(command: Sequence[str]) -> None:
    """Show this command line in /proc and `ps`: write it where this process's own stands."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    text = b"".join(os.fsencode(part) + b"\0" for part in command)[: end - begin - 1]
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, text, len(text))


def _open_streams() -> None:
    """Open Python's standard streams on the descriptors that this process has got."""
    is_buffered = not os.environ.get("PYTHONUNBUFFERED")
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        before = getattr(sys, name)  # of the launch pad, with the same locale and variables
        raw = io.FileIO(descriptor, "w" if descriptor else "r", closefd=False)
        stream: Any = io.TextIOWrapper(
            _buffer(raw, is_buffered=is_buffered),
            encoding=before.encoding,
            errors=before.errors,
            newline=None if descriptor == 0 else "\n",
            line_buffering=is_buffered and (name == "stderr" or raw.isatty()),
            write_through=not is_buffered,
        )
        stream.mode = before.mode
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _buffer(raw: io.FileIO, *, is_buffered: bool) -> Any:
    if raw.readable():
        return io.BufferedReader(raw)
    return io.BufferedWriter(raw) if is_buffered else raw


def send(control: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a message, and descriptors with it."""
    data = json.dumps(message).encode()
    socket.send_fds(control, [LENGTH.pack(len(data))], descriptors)
    control.sendall(data)


def receive(
    control: socket.socket, num_descriptors: int
) -> tuple[dict[str, Any] | None, list[int]]:
    """Receive a message and its descriptors; None when the other end is closed."""
    try:
        head, descriptors, _, _ = socket.recv_fds(control, LENGTH.size, num_descriptors)
    except ConnectionResetError:  # it had something to read left
        return None, []
    if not head:
        return None, []
    head += _exactly(control, LENGTH.size - len(head))
    message: dict[str, Any] = json.loads(_exactly(control, LENGTH.unpack(head)[0]))
    return message, descriptors


def _exactly(control: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = control.recv(size - len(data))
        if not more:
            raise ConnectionResetError("the other end has ended")
        data += more
    return data


if __name__ == "__main__":
    main()
