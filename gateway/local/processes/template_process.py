"""The template process, which has imported what a cluster's Python processes need, and forks them.

It is a fork itself, of the process that supervises the cluster, and runs nothing but the loop
here. A fork of it starts in a few milliseconds where a new interpreter imports for a second, and
shares the pages of all that was imported (docs/operations.md has the figures). Forking is safe here
because this process has one thread and no event loop, and opens nothing but its socket.

What is forked becomes a child of the process that asked for it and not of this one: it is forked by
a process that ends at once, so the kernel gives it to the next ancestor that takes orphans, which
is the one that asked (prctl(2), PR_SET_CHILD_SUBREAPER). So this process knows nothing of those
that it has forked, and they lose nothing when it ends.
"""

import atexit
import contextlib
import ctypes
import errno
import importlib
import io
import json
import os
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from hedgerow.common.machine.private_folder import UMASK

# A request is one byte, with the descriptors of a file (what is to run, as JSON), of the parent
# pipe, of the lock and of the log; the answer is a process id, or minus an error's number.
REQUEST: Final = b"F"
NUM_DESCRIPTORS: Final = 4
ANSWER: Final = struct.Struct("!i")
# Stands in arguments and options for the number of the descriptor that reads EOF when the parent is
# gone.
PARENT_PIPE: Final = "{parent-pipe}"

_PR_SET_NAME: Final = 15
_LONGEST_NAME: Final = 15
_MAX_DESCRIPTORS: Final = 65_536
# glibc reads these variables when a program starts, too early for a fork: mallopt(3) sets the same.
_MALLOC_OPTIONS: Final = {"MALLOC_ARENA_MAX": -8, "MALLOC_MMAP_THRESHOLD_": -3}


def be_template(control: socket.socket) -> NoReturn:
    """Fork what is asked for until the other end of `control` is closed; then the process ends."""
    status = 1
    try:
        os.setsid()  # Ctrl-C on the terminal is for the process that asks
        _close_all_but(control.fileno())
        _open_null(0)
        if not sys.flags.safe_path:
            # The command's folder, or the current one: a module there must not be taken for ours.
            del sys.path[0]
        name_process("template")
        _serve(control)
        status = 0
    except BaseException:  # noqa: BLE001 - it must not return into its parent's code
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _serve(control: socket.socket) -> None:
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, len(REQUEST), NUM_DESCRIPTORS)
        if not request:
            return
        try:
            answer = _fork(descriptors)
        except OSError as error:  # no process or memory is left, for now
            answer = -(error.errno or errno.EAGAIN)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        control.sendall(ANSWER.pack(answer))


def _fork(descriptors: Sequence[int]) -> int:
    """Fork by way of a process that ends at once; returns the process id."""
    told_read, told_write = os.pipe()
    go_read, go_write = os.pipe()
    with os.fdopen(told_read, "rb") as told, os.fdopen(go_write, "wb"), os.fdopen(go_read, "rb"):
        try:
            between = os.fork()
            if between == 0:
                os.close(go_write)
                _fork_and_end(told_write, go_read, descriptors)
        finally:
            os.close(told_write)
        answer = told.read(ANSWER.size)
        os.waitpid(between, 0)
    # Only now, when its parent is the one that it is to have, does it read that it may go.
    return int(ANSWER.unpack(answer)[0]) if answer else -errno.EAGAIN


def _fork_and_end(told_write: int, go_read: int, descriptors: Sequence[int]) -> NoReturn:
    try:
        try:
            pid = os.fork()
        except OSError as error:
            pid = -(error.errno or errno.EAGAIN)
        if pid == 0:
            os.close(told_write)
            os.read(go_read, 1)
            _close_all_but(*descriptors)
            _be_program(*descriptors)
        os.write(told_write, ANSWER.pack(pid))
    finally:
        os._exit(0)


def _be_program(request: int, parent_pipe: int, _lock: int, output: int) -> NoReturn:
    """Be the program that was asked for, in a session of its own; its lock stays open."""
    end = _End()
    atexit.register(end)
    try:
        os.setsid()
        os.umask(UMASK)
        _open_null(0)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.close(output)
        _open_streams()
        with os.fdopen(request, "rb") as file:
            asked = json.load(file)
        os.environ.clear()
        os.environ.update(asked["environment"])
        _set_malloc(os.environ)
        name_process(asked["name"])
        sys.argv[:] = [asked["module"]]
        options = {
            name: parent_pipe if value == PARENT_PIPE else value
            for name, value in asked["options"].items()
        }
        end.status = _run(asked["module"], options)
    except BaseException:  # noqa: BLE001 - as above
        sys.excepthook(*sys.exc_info())
    finally:
        ctypes.pythonapi.Py_Exit(end.status)
    raise AssertionError("Py_Exit returned")


class _End:
    """Ends the process amid the interpreter's own end, which would free all: copy every page.

    The interpreter first waits for threads, then calls what is registered with `atexit`, the newest
    first. This is registered before the program runs, so what the program has registered is called
    before; what the parent had is the parent's, and is not called.
    """

    def __init__(self) -> None:
        self.status = 1

    def __call__(self) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(self.status)


def _run(module: str, options: Mapping[str, Any]) -> int:
    """Call a module's `run_with`; its exit status, by the rules of sys.exit.

    No command line is parsed: that would take each process 6 MB for itself.
    """
    try:
        importlib.import_module(module).run_with(**options)
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            return ending.code or 0
        sys.stderr.write(f"{ending.code}\n")
        return 1
    return 0


def _set_malloc(environment: Mapping[str, str]) -> None:
    with contextlib.suppress(AttributeError, ValueError):  # not glibc, or not a number
        mallopt = ctypes.CDLL(None).mallopt
        for name, option in _MALLOC_OPTIONS.items():
            if name in environment:
                mallopt(option, int(environment[name]))


def name_process(name: str) -> None:
    """Set what `ps -o comm` and `top` call this process."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:_LONGEST_NAME])


def _open_streams() -> None:
    """Have Python's streams use the descriptors, unbuffered, whatever they used before the fork."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as we are
    for name, descriptor, errors in (("stdout", 1, "strict"), ("stderr", 2, "backslashreplace")):
        raw = io.FileIO(descriptor, "w", closefd=False)
        setattr(sys, name, io.TextIOWrapper(raw, "utf-8", errors, write_through=True))


def _open_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, descriptor)
    os.close(null)


def _close_all_but(*kept: int) -> None:
    """Close what is open beside the standard streams."""
    first = 3
    for descriptor in (*sorted(kept), _MAX_DESCRIPTORS):
        os.closerange(first, descriptor)
        first = descriptor + 1
