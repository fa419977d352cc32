"""When enough is covered, how long to wait for the rest: Vespa's adaptive timeout.

The rule and the names are Vespa's (https://docs.vespa.ai/en/graceful-degradation.html and
https://docs.vespa.ai/en/reference/services-content.html#coverage: `minimum`,
`min-wait-after-coverage-factor`, `max-wait-after-coverage-factor`, whose defaults are 0 and 1); the
formula is that of its `AdaptiveTimeoutHandler`. Once the wanted share is covered, both factors of
the time that is then left make a shortest and a longest wait. One missing shard is waited for by
the shortest, as many as may at most be missing by the longest, and so on in between. Each reply
that comes thereafter may shorten the wait, and nothing lengthens it.

Vespa counts nodes that have answered; here the share is one of documents, and of all documents,
those of shards that could not be asked included.
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
        """When to stop waiting; asked after each reply.

        Args:
            covered_documents: those of the shards that have answered.
            total_documents: those of the collection; of an empty one, nothing is ever enough.
            num_pending: shards that were asked and have not ended.
            num_asked: shards that were asked.
            now: the event loop's time, in s.
            deadline: until when to wait at the latest.

        Returns:
            An instant that is never after the deadline, nor after what was returned before once
            enough was covered; in the past, if the wait is already over.
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
            # Shards are not all of a size, so that more may be missing than the share allows.
            slope = min((num_pending - 1) / most_missing, 1.0)
            wait_s += (self._max_wait_s - self._min_wait_s) * slope
        until = min(until, deadline, now + wait_s)
        self._until = until
        return until
