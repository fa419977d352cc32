"""Runs a program that does not watch its parent, so that it ends when the parent does.

Our Python children read EOF on the parent pipe; a binary such as valkey-server does not. This file
is executed by path (`python -I -S parent_death_guard.py PARENT_PID PIPE_FD [--guardian] PROGRAM
ARG…`): it ties its own process to the parent and then becomes the program, so that the parent sees
one process id and the program's own exit status.

- Linux: the kernel sends SIGTERM when the parent's thread ends (prctl(2), PR_SET_PDEATHSIG; kept
  across execve of a program that is not setuid).
- Elsewhere: a guardian, forked before the exec and therefore the program's child, reads EOF on the
  pipe and signals the program: SIGTERM, then SIGKILL. It compares its parent's id first, so that it
  never signals another process that has got the id of a program that has ended.

It imports only a little of the standard library, and starts in 25 ms.
"""

import os
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_TERM_GRACE_S = 5.0


def _die_with_parent(parent_pid: int) -> None:
    # Needed on Linux only, and ctypes costs a few ms that the guardian need not spend.
    import ctypes  # noqa: PLC0415

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # If the parent died before the call, the kernel sends no signal.
    if os.getppid() != parent_pid:
        sys.exit("the parent has ended")


def _fork_guardian(pipe: int) -> None:
    program_pid = os.getpid()
    if os.fork() != 0:
        os.close(pipe)
        return
    # A signal to the session is meant for the program, which the guardian has to outlive.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    # It keeps only the pipe of the inherited descriptors: only the program may hold the lock,
    # which shows that the program lives.
    for descriptor in range(3, 256):
        if descriptor != pipe:
            try:
                os.close(descriptor)
            except OSError:
                continue
    while os.read(pipe, 4096):
        pass
    for number, grace_s in ((signal.SIGTERM, _TERM_GRACE_S), (signal.SIGKILL, 0.0)):
        if os.getppid() != program_pid:
            break
        os.kill(program_pid, number)
        deadline = time.monotonic() + grace_s
        while os.getppid() == program_pid and time.monotonic() < deadline:
            time.sleep(0.02)
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Tie this process to its parent, then become the program."""
    parent_pid, pipe, *program = arguments
    if program[0] == "--guardian" or not sys.platform.startswith("linux"):
        program = [part for part in program if part != "--guardian"]
        _fork_guardian(int(pipe))
    else:
        _die_with_parent(int(parent_pid))
        os.close(int(pipe))
    os.execv(program[0], program)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
