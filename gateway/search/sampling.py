"""Chooses the queries that a gateway learns from, if there are more than it needs."""

from collections.abc import Callable


class Sampler:
    """Takes every query at a low rate, and a random share of them at a high one.

    A sample of 200 queries a second teaches as much as 7,000, at a thirtieth of the cost. The
    choice goes by number and not by time: the first query after a pause meets empty queues, and
    would be taken too often. It is random, so that it cannot coincide with a period in the load.
    """

    __slots__ = ("_num_seen", "_num_taken", "_rng", "_since", "_skip", "_step", "_target")

    def __init__(self, target_per_s: float, rng: Callable[[], float]) -> None:
        """Take about `target_per_s` queries a second.

        Args:
            target_per_s: the rate below which all are taken, in queries per second.
            rng: uniform over [0, 1).
        """
        self._target = target_per_s
        self._rng = rng
        self._step = 1.0  # mean number of queries from one that is taken to the next
        self._skip = 0  # queries to skip before the next that is taken
        self._since = float("-inf")
        self._num_seen = 0  # since `_since`
        self._num_taken = 0  # since the step was set

    def takes(self, now: float) -> bool:
        """Whether the query that starts now is in the sample."""
        if self._skip:
            self._skip -= 1
            return False
        elapsed_s = now - self._since
        if elapsed_s >= 1:
            # The rate of this second sets the step for the next.
            self._step = max(1.0, self._num_seen / elapsed_s / self._target)
            self._since = now
            self._num_seen = self._num_taken = 0
        elif self._num_taken >= self._target:
            self._step *= 2  # in a sudden burst, the step must grow at once
            self._num_taken = 0
        # Uniform over 0 … 2(step - 1), whose mean is step - 1.
        self._skip = int(self._rng() * (2 * self._step - 1))
        self._num_seen += self._skip + 1
        self._num_taken += 1
        return True
