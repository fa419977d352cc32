"""A second phase that holds its scorer for a set time and takes no CPU.

A cluster that it loads has a hard service capacity, of which the load's own CPU takes nothing.
"""

import time
from collections.abc import Sequence
from typing import Any

HOLD_S = 0.004


def score(_query: str, documents: Sequence[dict[str, Any]]) -> list[float]:
    """Score nothing, slowly."""
    time.sleep(HOLD_S)
    return [0.0] * len(documents)
