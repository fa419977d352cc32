"""The pipe to the driver, as a measured process sees it; needs only the standard library.

The driver (`bench.harness.apart`) writes one command a line, and reads one JSON object a line.
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
        name: as in its documentation.
        value: that is set here.
        reason: why it is set.
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
        """Yield each command, until the driver hangs up."""
        while line := sys.stdin.readline():
            yield line
