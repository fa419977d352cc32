"""Which queries are learnt from, when there are more than it takes to learn."""

from collections.abc import Callable


class Sampler:
    """Takes every query while they are few, and an even share of them when they are many.

    What is learnt from 200 queries a second is as good as from 7,000, at a thirtieth of the cost.
    The choice goes by number and not by time: the first query after a pause meets empty queues,
    and would be taken too often. It is drawn, so that no period in the load can hide behind it.
    """

    __slots__ = ("_num_seen", "_num_taken", "_rng", "_since", "_skip", "_step", "_target")

    def __init__(self, target_per_s: float, rng: Callable[[], float]) -> None:
        """Take about `target_per_s` queries a second.

        Args:
            target_per_s: below this rate, all are taken; per second.
            rng: uniform over [0, 1).
        """
        self._target = target_per_s
        self._rng = rng
        self._step = 1.0  # queries for each that is taken
        self._skip = 0  # until the next that is taken
        self._since = float("-inf")
        self._num_seen = 0  # since then
        self._num_taken = 0  # since the step was set

    def takes(self, now: float) -> bool:
        """Whether the query that starts now is one to learn from."""
        if self._skip:
            self._skip -= 1
            return False
        elapsed_s = now - self._since
        if elapsed_s >= 1:
            # One second's rate sets the next one's step.
            self._step = max(1.0, self._num_seen / elapsed_s / self._target)
            self._since = now
            self._num_seen = self._num_taken = 0
        elif self._num_taken >= self._target:
            self._step *= 2  # a sudden burst need not be taken whole
            self._num_taken = 0
        # Uniform over 0 … 2(step - 1), whose mean is step - 1.
        self._skip = int(self._rng() * (2 * self._step - 1))
        self._num_seen += self._skip + 1
        self._num_taken += 1
        return True
