"""Second phases that misbehave as they are told; only the lab's configuration names them.

Each does what its query's script says for its shard (see `lab.script`), and scores all alike.
"""

import os
import random
import time
from pathlib import Path
from typing import Any

from lab.journal import noted
from lab.script import read

Document = dict[str, Any]

DEGRADED = "HEDGEROW_LAB_DEGRADED"  # in the environment: the file by whose being there it is
WELL_S = 0.02
STALL_S, STALL_SHARE = 0.15, 0.02
USUAL_S, USUAL_SIGMA = 0.005, 0.3

_LOOK_S = 0.005  # 64 scorers that look each millisecond fill two cores


def sleep(query: str, documents: list[Document], budget: Any) -> list[float]:
    """Wait, and look at the budget meanwhile, as good work does."""
    shard, seconds = read(query, documents[0]["id"])
    until = time.monotonic() + seconds
    with noted(shard):
        while not budget.expired() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_S))
    return [0.0] * len(documents)


def hang(query: str, documents: list[Document]) -> list[float]:
    """Wait, and look at nothing: what is told to take long must be killed."""
    shard, seconds = read(query, documents[0]["id"])
    with noted(shard):
        time.sleep(seconds)
    return [0.0] * len(documents)


def dependency(query: str, documents: list[Document], budget: Any) -> list[float]:
    """Answer soon, as long as all is well; take as long as the script says once it is degraded."""
    _, seconds = read(query, documents[0]["id"])
    is_degraded = Path(os.environ[DEGRADED]).exists()
    until = time.monotonic() + (seconds if is_degraded else WELL_S)
    while not budget.expired() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_S))
    return [0.0] * len(documents)


def stall(_query: str, documents: list[Document], budget: Any) -> list[float]:
    """Take some ms, and now and then much longer, by chance that each try of a request has anew."""
    seconds = USUAL_S * random.lognormvariate(0, USUAL_SIGMA)
    if random.random() < STALL_SHARE:
        seconds += STALL_S
    until = time.monotonic() + seconds
    while not budget.expired() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_S))
    return [0.0] * len(documents)
