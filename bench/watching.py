"""A rank profile that computes until its budget says that nobody waits, and notes when it does."""

import os
import struct
import time
from collections.abc import Sequence
from typing import Any, Final

LONGEST_S: Final = 1.0
# Number of the query; when the work began, and when it ended, both on CLOCK_MONOTONIC, which all
# processes of a machine share; and whether its budget told it to.
NOTE: Final = struct.Struct("<Qdd?")


def score(query: str, documents: Sequence[dict[str, Any]], budget: Any) -> list[float]:
    """Score nothing; the query's last word is its number, and the environment names the file."""
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
