"""How far a split is, from the logs of the workers: sooner than anybody could ask for it."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

OVER: Final = "done"
_EVENTS: Final = {"split_goes_on", "split_waits"}
_POLL_S: Final = 0.02


class SplitTurns:
    """Follows the logs from now on: which worker moves the split on, and to which state."""

    def __init__(self, logs: Mapping[str, Path]) -> None:
        """Follow them.

        Args:
            logs: worker → its log.
        """
        self._logs = logs
        self._read = {worker: _size(log) for worker, log in logs.items()}

    async def reach(self, state: str, timeout_s: float) -> str | None:
        """Wait until a worker has moved the split on to a state, and return which.

        Returns:
            None if the split ended before, or that took too long.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    for worker, turn in self.news():
                        if turn in (state, OVER):
                            return worker if turn == state else None
                    await asyncio.sleep(_POLL_S)
        return None

    def news(self) -> list[tuple[str, str]]:
        """Workers, and the states that they tell of since the last call."""
        found = []
        for worker, log in self._logs.items():
            if not log.exists():
                continue
            with log.open("rb") as file:
                file.seek(self._read[worker])
                lines = file.read().splitlines(keepends=True)
            for line in lines:
                if line.endswith(b"\n"):  # the rest of the last one comes later
                    self._read[worker] += len(line)
                    if turn := _turn(line):
                        found.append((worker, turn))
        return found


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _turn(line: bytes) -> str:
    """The state that a line of a log tells of; empty if it is about something else."""
    told: Any = None
    with contextlib.suppress(ValueError):  # not by the worker itself
        told = json.loads(line)
    is_turn = isinstance(told, dict) and told.get("event") in _EVENTS
    return str(told["state"]) if is_turn else ""
