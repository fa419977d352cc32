"""Decides when a child that died is restarted."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """A doubling pause with jitter, reset once a child has been stable.

    Attributes:
        initial_s: pause before the first restart.
        max_s: limit of the doubled pause, before jitter.
        jitter: the pause varies by up to this share of itself, up or down.
        stable_s: after a child has lived for this long, its pause is reset to `initial_s`.
    """

    initial_s: float = 0.2
    max_s: float = 10.0
    jitter: float = 0.2
    stable_s: float = 10.0


class RestartBackoff:
    """The pauses of one child.

    Args:
        policy: the shape of the pauses.
        rng: uniform in [0, 1), as random.random is.
    """

    def __init__(self, policy: RestartPolicy, rng: Callable[[], float]) -> None:
        self._policy = policy
        self._rng = rng
        self._started_at: float | None = None
        self._num_quick_deaths = 0

    def started(self, now: float) -> None:
        """Note that the child was started."""
        self._started_at = now

    def died(self, now: float) -> float:
        """Note a death, or a failed start; returns the pause until the next attempt, in s."""
        policy = self._policy
        if self._started_at is not None and now - self._started_at >= policy.stable_s:
            self._num_quick_deaths = 0
        self._started_at = None
        # Bounded, so that the float does not overflow if a child keeps dying for a week.
        doublings = min(self._num_quick_deaths, 60)
        self._num_quick_deaths += 1
        pause_s = min(policy.max_s, policy.initial_s * 2.0**doublings)
        return pause_s * (1.0 + policy.jitter * (2.0 * self._rng() - 1.0))
