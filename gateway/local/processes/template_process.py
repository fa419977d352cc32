"""The template process: has imported what a cluster's Python processes need, and forks them.

It is itself a fork of the process that supervises the cluster, and runs only the loop in this file.
A fork of it starts in a few milliseconds, while a new interpreter spends a second on imports, and
shares the pages of everything imported (docs/memory.md has the figures). Forking is safe here
because this process has one thread and no event loop, and opens nothing but its socket.

A forked process becomes a child of the requesting process, not of this one: its direct parent ends
at once, so the kernel gives it to the nearest ancestor that adopts orphans, which is the requesting
process (prctl(2), PR_SET_CHILD_SUBREAPER). So this process keeps no record of the processes that it
has forked, and its end does not affect them.
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

# A request is one byte, with the descriptors of a file (the request as JSON), of the parent pipe,
# of the lock and of the log; the answer is a process id, or minus an errno.
REQUEST: Final = b"F"
NUM_DESCRIPTORS: Final = 4
ANSWER: Final = struct.Struct("!i")
# Placeholder, in arguments and options, for the number of the descriptor that reads EOF when the
# parent has ended.
PARENT_PIPE: Final = "{parent-pipe}"

_PR_SET_NAME: Final = 15
_LONGEST_NAME: Final = 15
_MAX_DESCRIPTORS: Final = 65_536
# glibc reads these variables only when a program starts. In a fork, mallopt(3) does the same.
_MALLOC_OPTIONS: Final = {"MALLOC_ARENA_MAX": -8, "MALLOC_MMAP_THRESHOLD_": -3}


def be_template(control: socket.socket) -> NoReturn:
    """Serve requests until the other end of `control` is closed; then end the process."""
    status = 1
    try:
        os.setsid()  # Ctrl-C on the terminal is for the requesting process
        _close_all_but(control.fileno())
        _open_null(0)
        if not sys.flags.safe_path:
            # The command's folder, or the current one: a module there must not shadow ours.
            del sys.path[0]
        name_process("template")
        _serve(control)
        status = 0
    except BaseException:  # noqa: BLE001 - must not return into the parent's code
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
        except OSError as error:  # no process or memory available for now
            answer = -(error.errno or errno.EAGAIN)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        control.sendall(ANSWER.pack(answer))


def _fork(descriptors: Sequence[int]) -> int:
    """Fork through a process that ends at once; returns the process id."""
    answer_read, answer_write = os.pipe()
    go_read, go_write = os.pipe()
    with (
        os.fdopen(answer_read, "rb") as answers,
        os.fdopen(go_write, "wb"),
        os.fdopen(go_read, "rb"),
    ):
        try:
            between = os.fork()
            if between == 0:
                os.close(go_write)
                _fork_and_end(answer_write, go_read, descriptors)
        finally:
            os.close(answer_write)
        answer = answers.read(ANSWER.size)
        os.waitpid(between, 0)
    # It may start only now, when it has been adopted by its final parent.
    return int(ANSWER.unpack(answer)[0]) if answer else -errno.EAGAIN


def _fork_and_end(answer_write: int, go_read: int, descriptors: Sequence[int]) -> NoReturn:
    try:
        try:
            pid = os.fork()
        except OSError as error:
            pid = -(error.errno or errno.EAGAIN)
        if pid == 0:
            os.close(answer_write)
            os.read(go_read, 1)
            _close_all_but(*descriptors)
            _be_program(*descriptors)
        os.write(answer_write, ANSWER.pack(pid))
    finally:
        os._exit(0)


def _be_program(request: int, parent_pipe: int, _lock: int, output: int) -> NoReturn:
    """Run the requested program, in a session of its own; its lock stays open."""
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
    """Ends the process before the interpreter's shutdown frees, and therefore copies, every page.

    The interpreter first waits for threads, then calls the functions registered with `atexit`,
    newest first. This is registered before the program runs, so the program's functions are called
    before it, and those that the parent had registered are not called.
    """

    def __init__(self) -> None:
        self.status = 1

    def __call__(self) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(self.status)


def _run(module: str, options: Mapping[str, Any]) -> int:
    """Call a module's `run_with`; returns its exit status, by the rules of sys.exit.

    No command line is parsed, which would cost each process 6 MB.
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
    """Set the name of this process in `ps -o comm` and `top`."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:_LONGEST_NAME])


def _open_streams() -> None:
    """Make Python's standard streams use descriptors 0 to 2, unbuffered."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the end
    for name, descriptor, errors in (("stdout", 1, "strict"), ("stderr", 2, "backslashreplace")):
        raw = io.FileIO(descriptor, "w", closefd=False)
        setattr(sys, name, io.TextIOWrapper(raw, "utf-8", errors, write_through=True))


def _open_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, descriptor)
    os.close(null)


def _close_all_but(*kept: int) -> None:
    """Close all descriptors except the standard streams and `kept`."""
    first = 3
    for descriptor in (*sorted(kept), _MAX_DESCRIPTORS):
        os.closerange(first, descriptor)
        first = descriptor + 1
