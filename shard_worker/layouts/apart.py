"""When a worker begins to serve the new shards of a split, and ends to serve the old ones. Pure.

All workers learn at one instant that they should. To start the processes for the new shards takes
each of them some 80 ms of CPU, and to end those of the old ones some 60. On a machine with four
workers and two cores, searches would have to wait for 0.2 s each time, which is many a deadline. So
each of a machine's workers does it at a moment of its own.
"""

import random
from collections.abc import Callable
from typing import Final

BEGIN_EACH_S: Final = 0.25
END_EACH_S: Final = 0.5
MOST_WORKERS: Final = 8  # a machine with more of them has the cores for several at a time


def begins_after_s(on_host: int, draw: Callable[[], float] = random.random) -> float:
    """How long one of the workers `on_host` waits before it serves new shards beside others."""
    return _share(on_host, draw) * BEGIN_EACH_S


def ends_after_s(on_host: int, draw: Callable[[], float] = random.random) -> float:
    """How long one of the workers `on_host` goes on serving shards that are no longer searched."""
    return _share(on_host, draw) * END_EACH_S


def _share(on_host: int, draw: Callable[[], float]) -> float:
    return draw() * min(on_host, MOST_WORKERS) if on_host > 1 else 0.0
