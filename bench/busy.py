"""A rank profile that computes for a while, and looks at its budget as it should."""

import time
from collections.abc import Sequence
from typing import Any

BUSY_S = 0.005


def score(_query: str, documents: Sequence[dict[str, Any]], budget: Any) -> list[float]:
    """Score nothing, at length."""
    until = time.monotonic() + BUSY_S
    while time.monotonic() < until and not budget.expired():
        pass
    return [0.0] * len(documents)
