"""Decides how long to wait for the remaining shards once the wanted share is covered.

The rule and the names are those of Vespa's adaptive timeout
(https://docs.vespa.ai/en/graceful-degradation.html and
https://docs.vespa.ai/en/reference/services-content.html#coverage: `minimum`,
`min-wait-after-coverage-factor`, `max-wait-after-coverage-factor`, whose defaults are 0 and 1); the
formula is that of its `AdaptiveTimeoutHandler`. Once the wanted share is covered, the two factors,
times the time that is left then, give a longest and a shortest wait. If one shard is missing, the
query waits for the shortest time; if as many are missing as the share allows, for the longest; in
between linearly. Later replies may shorten the wait, and nothing lengthens it.

Vespa counts nodes that have answered. Here the share is of all documents, including those of shards
that could not be asked.
"""

from typing import Final

from hedgerow.common.settings.tail import CoverageSettings

_ROUNDING: Final = 1e-12


class AdaptiveTimeout:
    """The wait of one query."""

    __slots__ = ("_max_factor", "_max_wait_s", "_min_factor", "_min_wait_s", "_until", "wait_for")

    def __init__(self, wait_for: float, settings: CoverageSettings) -> None:
        """Wait for the share `wait_for` of the documents, 0 to 1, and then a little longer."""
        self.wait_for = wait_for
        self._min_factor = settings.min_wait_after_coverage_factor
        self._max_factor = settings.max_wait_after_coverage_factor
        self._min_wait_s = 0.0
        self._max_wait_s = 0.0
        self._until: float | None = None  # None until the wanted share is covered

    def until(
        self,
        covered_documents: int,
        total_documents: int,
        num_pending: int,
        num_asked: int,
        now: float,
        deadline: float,
    ) -> float:
        """Return when to stop waiting; call it after each reply.

        Args:
            covered_documents: documents of the shards that have answered.
            total_documents: documents of the collection; if it is empty, wait for all shards.
            num_pending: shards that were asked and have not ended.
            num_asked: shards that were asked.
            now: the time, in s.
            deadline: the latest instant to wait until.

        Returns:
            An instant, never after the deadline; once the wanted share is covered, never later than
            the one returned before. In the past if the wait is over.
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
            # Shards differ in size, so more of them may be missing than the share allows.
            slope = min((num_pending - 1) / most_missing, 1.0)
            wait_s += (self._max_wait_s - self._min_wait_s) * slope
        until = min(until, deadline, now + wait_s)
        self._until = until
        return until
