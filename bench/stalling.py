"""A rank profile that stalls now and then in the workers whose environment says so."""

import os
import random
import time
from typing import Any, Final

STALL_S: Final = float(os.environ.get("HEDGEROW_BENCH_STALL_S", "0"))
STALL_SHARE: Final = 0.05


def score(_query: str, documents: list[dict[str, Any]], budget: Any) -> list[float]:
    """Score all alike; of each twentieth request or so, after a stall that its budget can end."""
    if STALL_S and random.random() < STALL_SHARE:
        until = time.monotonic() + STALL_S
        while time.monotonic() < until and not budget.expired():
            time.sleep(0.001)
    return [0.0] * len(documents)
