"""How many works go where: pure functions of counts and measured times."""

import math
from collections.abc import Callable

# Weight of the past in the service time's moving average, in works: one work counts as 1/17, a
# batch of 64 as 4/5.
_MEMORY_WORKS = 16

# A frame to a scorer and back costs the machine about as much as this; works that together take
# less are not spread over several scorers.
_SPREAD_US = 100.0

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 10.0


class ServiceTime:
    """Moving average of what one work takes in a scorer, in µs."""

    __slots__ = ("estimate_us",)

    def __init__(self, initial_us: float) -> None:
        self.estimate_us = initial_us

    def observe(self, num_works: int, elapsed_us: float) -> None:
        """Count `num_works` (at least 1) that took `elapsed_us` together."""
        weight = num_works / (num_works + _MEMORY_WORKS)
        self.estimate_us += (elapsed_us / num_works - self.estimate_us) * weight


def startable(service_us: float, window_us: float, most: int) -> int:
    """How many works a free scorer starts within the window, one after the other.

    The first starts at once, so it is never less than 1; expensive works go one at a time.
    """
    if service_us * most <= window_us:
        return most
    return max(1, min(most, math.ceil(window_us / service_us)))


def share(num_waiting: int, num_idle: int, limit: int, service_us: float) -> int:
    """How many of the waiting works the next idle scorer gets.

    Args:
        num_waiting: works that wait, at least 1.
        num_idle: scorers that are free, the next one included.
        limit: the most that one scorer may get, from `startable`.
        service_us: measured time of one work, in µs.
    """
    even = -(-num_waiting // num_idle)
    worthwhile = limit if service_us * limit <= _SPREAD_US else int(_SPREAD_US / service_us)
    return max(1, min(max(even, worthwhile), limit, num_waiting))


def restart_delay_s(num_failures: int, rng: Callable[[], float]) -> float:
    """How long to wait before a scorer is started again.

    Args:
        num_failures: starts in a row that failed; after none, a scorer is replaced at once.
        rng: uniform in [0, 1); spreads the delay over the upper half of its length.
    """
    if num_failures == 0:
        return 0.0
    longest = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(num_failures - 1, 30))
    return longest * (0.5 + 0.5 * rng())
