"""Second phases that take a known time; the benchmark's clusters have a rank profile for each."""

import os
import random
import struct
import time
from collections.abc import Sequence
from typing import Any, Final

BUSY_S: Final = 0.005
HOLD_S: Final = 0.004
STALL_SHARE: Final = 0.05
MAY_STALL: Final = os.environ.get("HEDGEROW_BENCH_STALLS") == "1"
LONGEST_S: Final = 1.0  # for which `watching` computes
# The number of the query; when the task began and ended, on CLOCK_MONOTONIC, which all processes of
# a machine share; and whether it ended because its budget had expired.
NOTE: Final = struct.Struct("<Qdd?")
_STALLS: Final = "stalls"

Documents = Sequence[dict[str, Any]]


def busy(_query: str, documents: Documents, budget: Any) -> list[float]:
    """Compute for a while, and check the budget as second phases should."""
    until = time.monotonic() + BUSY_S
    while time.monotonic() < until and not budget.expired():
        pass
    return [0.0] * len(documents)


def held(_query: str, documents: Documents) -> list[float]:
    """Hold the scorer for a set time without using CPU: the capacity for such work is fixed."""
    time.sleep(HOLD_S)
    return [0.0] * len(documents)


def with_stall(query: str, stall_s: float) -> str:
    """Add to a query that `stalling` is to stall for `stall_s`, in a worker that may stall."""
    return f"{query} {_STALLS} {stall_s:.4f}"


def stalling(query: str, documents: Documents, budget: Any) -> list[float]:
    """Stall in about one request in twenty, if the worker may, but not beyond the budget."""
    if MAY_STALL and random.random() < STALL_SHARE:
        _, _, stall_s = query.partition(_STALLS)
        until = time.monotonic() + float(stall_s or 0)
        while time.monotonic() < until and not budget.expired():
            time.sleep(0.001)
    return [0.0] * len(documents)


def watching(query: str, documents: Documents, budget: Any) -> list[float]:
    """Compute until the budget has expired, and note when that was seen.

    The last word of the query is its number; the environment names the file of the notes.
    """
    began_at = now = time.monotonic()
    is_told = False
    while not is_told and now < began_at + LONGEST_S:
        is_told = budget.expired()
        now = time.monotonic()
    note = NOTE.pack(int(query.rsplit(maxsplit=1)[-1]), began_at, now, is_told)
    # Opened to append, so that the notes of several processes stay whole.
    notes = os.open(os.environ["HEDGEROW_BENCH_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(notes, note)
    os.close(notes)
    return [0.0] * len(documents)
