"""When a child that died is started again."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """A doubling pause with jitter, forgotten once a child has been stable.

    Attributes:
        initial_s: pause before the first restart.
        max_s: cap of the doubled pause, before jitter.
        jitter: the pause is spread by up to this share of itself, each way.
        stable_s: a child that lived for so long starts over at `initial_s` when it dies.
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
        """Note a death, or a start that failed; returns the pause until the next try, in s."""
        policy = self._policy
        if self._started_at is not None and now - self._started_at >= policy.stable_s:
            self._num_quick_deaths = 0
        self._started_at = None
        # The exponent is bounded so that a child that dies for a week does not overflow a float.
        doublings = min(self._num_quick_deaths, 60)
        self._num_quick_deaths += 1
        pause_s = min(policy.max_s, policy.initial_s * 2.0**doublings)
        return pause_s * (1.0 + policy.jitter * (2.0 * self._rng() - 1.0))
