"""How many tasks go into a batch: pure functions of counts and measured times."""

import math
from collections.abc import Callable

# Weight of the past in the service time's moving average, in tasks: one task counts as 1/17, a
# batch of 64 as 4/5.
_MEMORY_TASKS = 16

# A frame to a scorer and back costs about this much CPU time, so a further scorer gets tasks only
# if each of them then has work for as long.
_SPREAD_US = 100.0

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 10.0


class ServiceTime:
    """Moving average of what one task takes in a scorer, in µs."""

    __slots__ = ("estimate_us",)

    def __init__(self, initial_us: float) -> None:
        self.estimate_us = initial_us

    def observe(self, num_tasks: int, elapsed_us: float) -> None:
        """Count `num_tasks` (at least 1) that took `elapsed_us` together."""
        weight = num_tasks / (num_tasks + _MEMORY_TASKS)
        self.estimate_us += (elapsed_us / num_tasks - self.estimate_us) * weight


def startable(service_us: float, window_us: float, most: int) -> int:
    """How many tasks a free scorer starts within the window, one after the other.

    The first starts at once, so it is never less than 1; expensive tasks go one at a time.
    """
    if service_us * most <= window_us:
        return most
    return max(1, min(most, math.ceil(window_us / service_us)))


def share(num_waiting: int, num_idle: int, limit: int, service_us: float) -> int:
    """How many of the waiting tasks the next free scorer gets.

    Args:
        num_waiting: tasks that wait, at least 1.
        num_idle: scorers that are free, the next one included.
        limit: the most that one scorer may get, from `startable`.
        service_us: measured time of one task, in µs.
    """
    num_worth = min(num_idle, max(1, int(num_waiting * service_us / _SPREAD_US)))
    return min(-(-num_waiting // num_worth), limit)


def restart_delay_s(num_failures: int, rng: Callable[[], float]) -> float:
    """How long to wait before a scorer is started again.

    Args:
        num_failures: failed starts in a row; after none, a scorer is replaced at once.
        rng: random numbers, uniform in [0, 1); the delay is at least half of its longest value.
    """
    if num_failures == 0:
        return 0.0
    longest = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(num_failures - 1, 30))
    return longest * (0.5 + 0.5 * rng())
