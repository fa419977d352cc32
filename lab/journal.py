"""The journal: when each task ran, in lines that scorers write and experiments read."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

VARIABLE = "HEDGEROW_LAB_JOURNAL"  # in the environment of scorers that keep a journal


class Stint(NamedTuple):
    """One task.

    Attributes:
        shard: for which it ran.
        pid: of the scorer that ran it.
        started_at: an instant of `time.monotonic()`, which all processes of a machine share, in s.
        ended_at: the same; None if it has not ended, or if its process was killed.
    """

    shard: int
    pid: int
    started_at: float
    ended_at: float | None


@contextlib.contextmanager
def noted(shard: int) -> Iterator[None]:
    """Note the start and the end of a task."""
    path = os.environ.get(VARIABLE)
    started_at = time.monotonic()
    if path:
        _append(path, [shard, os.getpid(), started_at, None])
    try:
        yield
    finally:
        if path:
            _append(path, [shard, os.getpid(), started_at, time.monotonic()])


def read_stints(path: Path, since: float = 0.0) -> list[Stint]:
    """The tasks that started at `since` or later, in the order of their start."""
    stints: dict[tuple[int, int, float], Stint] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            stint = Stint(*json.loads(line))
            if stint.started_at >= since:
                stints[stint[:3]] = stint
    return sorted(stints.values(), key=lambda stint: stint.started_at)


def _append(path: str, line: list[float | int | None]) -> None:
    # One write a line, so that lines of several processes are not mixed.
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, (json.dumps(line) + "\n").encode())
    finally:
        os.close(fd)
