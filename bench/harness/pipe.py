"""What is measured apart, as it sees the pipe to its driver; standard library alone.

The driver (`bench.harness.apart`) writes a command a line, and reads a JSON object a line.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


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
