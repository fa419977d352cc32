"""The pipe between the driver of a comparison and what it measures, which runs apart.

The driver writes a command a line, and reads a JSON object a line. Both ends are here, and import
the standard library alone: what is measured may have an environment of its own.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of what is measured.

    Attributes:
        name: as its documentation has it.
        value: as it is set here.
        reason: why so.
    """

    name: str
    value: str
    reason: str


class Pipe:
    """The lines to and from the driver; what libraries print goes to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def say(self, message: dict[str, Any]) -> None:
        """Send one line."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    @staticmethod
    def lines() -> Iterator[str]:
        """Each command, until the driver hangs up."""
        while line := sys.stdin.readline():
            yield line


async def launch(
    *command: str, errors: IO[bytes], most_line_bytes: int
) -> asyncio.subprocess.Process:
    """Start what is to be measured.

    Args:
        command: the program and its arguments.
        errors: where its standard error goes.
        most_line_bytes: the longest line that it may send.
    """
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
        limit=most_line_bytes,
        start_new_session=True,  # an interrupt at the keyboard is the driver's to deal with
    )


async def receive(
    process: asyncio.subprocess.Process, errors: Path, timeout_s: float, failure: type[Exception]
) -> dict[str, Any]:
    """The next line that it sends.

    Args:
        process: as `launch` has started it.
        errors: where its standard error goes; its last line is told when there is no answer.
        timeout_s: how long the line is waited for.
        failure: what is raised when it does not come.
    """
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), timeout_s)
    except TimeoutError:
        raise failure(f"no answer within {timeout_s:.0f} s; {_last_words(errors)}") from None
    if not line:
        raise failure(f"has ended; {_last_words(errors)}")
    received: dict[str, Any] = json.loads(line)
    return received


def _last_words(errors: Path) -> str:
    lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip()[:300] if lines else "it said nothing"
