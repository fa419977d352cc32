"""Functions whose right lane is known, and some functions that misbehave."""

import asyncio
import ctypes
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

_MATRICES: dict[int, Any] = {}


class Budget(Protocol):
    """What is left of the query's time."""

    def expired(self) -> bool:
        """Whether the result is no longer wanted."""


def blocking(seconds: float) -> float:
    """Wait as a blocking library does."""
    time.sleep(seconds)
    return seconds


async def awaiting(seconds: float) -> float:
    """Wait as an async library does."""
    await asyncio.sleep(seconds)
    return seconds


async def async_in_name(seconds: float) -> None:
    """Hold the loop while waiting."""
    time.sleep(seconds)  # noqa: ASYNC251 - the mistake that is to be found


def counting(steps: int) -> int:
    """Burn CPU in pure Python."""
    total = 0
    for step in range(steps):
        total += step * step
    return total


def product(size: int) -> float:
    """Burn CPU in a product of matrices, which releases the interpreter lock."""
    import numpy as np  # noqa: PLC0415 - each runner imports this module, and most never need it

    if size not in _MATRICES:
        _MATRICES[size] = np.random.default_rng(7).random((size, size))
    matrix = _MATRICES[size]
    return float((matrix @ matrix)[0, 0])


def count_byte(data: bytes) -> int:
    """Do little work on a lot of data."""
    return data.count(b"x")


def with_connection(connection: sqlite3.Connection, steps: int) -> int:
    """Burn CPU, with an argument that cannot cross to another process."""
    assert isinstance(connection, sqlite3.Connection)
    return counting(steps)


def locked_result(steps: int) -> Any:
    """Burn CPU, with a result that cannot cross."""
    counting(steps)
    return threading.Lock()


nameless = lambda steps: counting(steps)  # noqa: E731, PLW0108 - pickle does not find it by name


def score(query: str, documents: Sequence[dict[str, Any]], budget: Budget) -> list[float]:
    """A second phase that checks its budget between documents."""
    scores: list[float] = []
    for document in documents:
        if budget.expired():
            break
        counting(5_000)
        scores.append(document["_score"] * len(query))
    return scores + [0.0] * (len(documents) - len(scores))


def deaf_score(query: str, documents: Sequence[dict[str, Any]], budget: Budget) -> list[float]:
    """A second phase that takes a budget and never checks it."""
    counting(1_000_000)
    return [0.0] * len(documents)


def enrich(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A blocking look-up for each winner."""
    for document in documents:
        time.sleep(0.002)
        document["price"] = 1
    return documents


def crashes(_number: int) -> None:
    """Read memory that is not mapped."""
    ctypes.string_at(0)


def crashes_on_negative(number: int) -> int:
    """Crash on some samples alone."""
    if number < 0:
        crashes(number)
    return counting(20_000 + number)


def hangs(mark: str) -> None:
    """Start a process that outlives this one, leave a mark, and wait for ever."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)", mark])
    waits_for_ever(mark)


def waits_for_ever(mark: str) -> None:
    """Leave a mark, and wait for ever."""
    Path(mark).touch()
    threading.Event().wait()


def raises(number: int) -> float:
    """Fail on zero."""
    time.sleep(0.01)
    return 1 / number


def exclusive(_number: int, _holder: Any = threading.local()) -> int:  # noqa: B008
    """Work only in the thread that called first, as a SQLite connection does."""
    global _OWNER  # noqa: PLW0603
    _OWNER = _OWNER or threading.get_ident()
    if threading.get_ident() != _OWNER:
        raise RuntimeError("made in another thread")
    return counting(100_000)


_OWNER = 0
