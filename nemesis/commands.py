"""System commands, and helpers that take commands on their standard input."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from bench.harness.processes import start_tied

_AT_ONCE = -10  # the nice value
ROOT = Path(__file__).parents[1]


async def run(*command: str) -> str:
    """Run a command to its end; what it printed.

    Raises:
        RuntimeError: it failed; with what it says.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    shown, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {errors.decode(errors='replace').strip()}")
    return shown.decode(errors="replace")


def started(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one; the program may be a name to look up.

    Raises:
        RuntimeError: there is no such program.
    """
    program = shutil.which(command[0])
    if program is None:
        raise RuntimeError(f"`{command[0]}` is not installed")
    return start_tied([program, *command[1:]], **options)


def at_once() -> list[str]:
    """The beginning of a command whose process gets a core before others do.

    For what is held to milliseconds, gateways and clients, on a machine with more busy processes
    than cores.
    """
    return ["nice", "-n", str(_AT_ONCE - os.getpriority(os.PRIO_PROCESS, 0))]


class Helper:
    """A Python module that runs as a process of its own, and reads commands as lines of JSON."""

    def __init__(self, module: str, *arguments: str, within: Sequence[str] = ()) -> None:
        """Run `python -m MODULE ARGUMENTS`, preceded by `within`."""
        self._command = [*within, sys.executable, "-m", module, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **options: Any) -> None:
        """Start it; it ends with this process.

        Args:
            options: of `subprocess.Popen`.
        """
        self._process = started(self._command, stdin=subprocess.PIPE, cwd=ROOT, **options)

    @property
    def output(self) -> IO[bytes]:
        """What it prints, if it was started with `stdout=subprocess.PIPE`."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout

    def tell(self, command: Mapping[str, Any]) -> None:
        """Send a command."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """End it."""
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
