"""A rank profile that stalls now and then: for as long as the query says, where the worker may."""

import os
import random
import time
from typing import Any, Final

MAY_STALL: Final = os.environ.get("HEDGEROW_BENCH_STALLS") == "1"
STALL_SHARE: Final = 0.05
_WORD: Final = "stalls"


def stalling(query: str, stall_s: float) -> str:
    """The query, told to stall for `stall_s`, in s, where it meets a worker that does."""
    return f"{query} {_WORD} {stall_s:.4f}"


def score(query: str, documents: list[dict[str, Any]], budget: Any) -> list[float]:
    """Score all alike; of each twentieth request or so, after a stall that its budget can end."""
    if MAY_STALL and random.random() < STALL_SHARE:
        _, _, stall_s = query.partition(_WORD)
        until = time.monotonic() + float(stall_s or 0)
        while time.monotonic() < until and not budget.expired():
            time.sleep(0.001)
    return [0.0] * len(documents)
