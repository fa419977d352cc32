"""How long to wait for the remaining shards once enough is covered: Vespa's adaptive timeout.

The rule and the names are Vespa's (https://docs.vespa.ai/en/graceful-degradation.html and
https://docs.vespa.ai/en/reference/services-content.html#coverage: `minimum`,
`min-wait-after-coverage-factor`, `max-wait-after-coverage-factor`, whose defaults are 0 and 1); the
formula is that of its `AdaptiveTimeoutHandler`. Once the requested share is covered, the factors,
multiplied by the time that is then left, give a shortest and a longest wait. For one missing shard,
the wait is the shortest; for as many as may be missing, the longest; and in between, it grows
linearly. Each later reply may shorten the wait, and nothing lengthens it.

Vespa counts nodes that have answered. Here the share is one of all documents, including those of
shards that could not be asked.
"""

from typing import Final

from hedgerow.common.settings.tail import CoverageSettings

_ROUNDING: Final = 1e-12


class AdaptiveTimeout:
    """The wait of one query."""

    __slots__ = ("_max_factor", "_max_wait_s", "_min_factor", "_min_wait_s", "_until", "wait_for")

    def __init__(self, wait_for: float, settings: CoverageSettings) -> None:
        """Wait for the share `wait_for` of the documents, 0 to 1, and then a little."""
        self.wait_for = wait_for
        self._min_factor = settings.min_wait_after_coverage_factor
        self._max_factor = settings.max_wait_after_coverage_factor
        self._min_wait_s = 0.0
        self._max_wait_s = 0.0
        self._until: float | None = None  # None before enough is covered

    def until(
        self,
        covered_documents: int,
        total_documents: int,
        num_pending: int,
        num_asked: int,
        now: float,
        deadline: float,
    ) -> float:
        """When to stop waiting; called after each reply.

        Args:
            covered_documents: documents of the shards that have answered.
            total_documents: documents of the collection; if it is empty, it is never covered.
            num_pending: shards that were asked and have not ended.
            num_asked: shards that were asked.
            now: the event loop's time, in s.
            deadline: the latest instant to wait for.

        Returns:
            An instant that is never after the deadline nor, once enough was covered, after the one
            returned before; in the past if the wait is already over.
        """
        until = self._until
        if until is None:
            least = self.wait_for * total_documents * (1 - _ROUNDING)  # 0.07 of 100 is above 7
            if not total_documents or covered_documents < least:
                return deadline
            left_s = max(deadline - now, 0.0)
            self._min_wait_s = left_s * self._min_factor
            self._max_wait_s = left_s * self._max_factor
            until = deadline
        wait_s = self._min_wait_s
        most_missing = (1 - self.wait_for) * num_asked - 1
        if num_pending > 1 and most_missing > 0:
            # Shards differ in size, so more of them may be missing than the share suggests.
            slope = min((num_pending - 1) / most_missing, 1.0)
            wait_s += (self._max_wait_s - self._min_wait_s) * slope
        until = min(until, deadline, now + wait_s)
        self._until = until
        return until
