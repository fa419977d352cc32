"""Counts how searches have ended: totals that only grow, from which the last minutes are drawn.

It sees every search that was answered, at the price of a bisection and a few additions. Refusals
are counted by admission control.
"""

from bisect import bisect_left
from operator import add
from typing import Final

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.search.result import SearchResult

_FIRST_MS: Final = 0.25
_PER_OCTAVE: Final = 4
_NUM_OCTAVES: Final = 18  # up to 65 s, more than the longest deadline
# Upper bounds of the buckets of answer times, in ms. Neighbours differ by a factor of 1.19, so a
# quantile that is interpolated within a bucket is off by less than a tenth.
BOUNDS_MS: Final = tuple(
    _FIRST_MS * 2 ** (step / _PER_OCTAVE) for step in range(_PER_OCTAVE * _NUM_OCTAVES + 1)
)


class SearchTally:
    """Totals of one gateway's searches since its start.

    Attributes:
        full: answers that reflect every document.
        partial: answers that reflect less.
        insufficient: searches that failed because too little, or nothing, was searched.
        coverage: the sum of their coverages.
        times: answers by answer time: those above `BOUNDS_MS[n - 1]` and up to `BOUNDS_MS[n]`.
        parts: shards' parts by outcome, in the order of `Outcome`.
    """

    __slots__ = ("coverage", "full", "insufficient", "partial", "parts", "times")

    def __init__(self) -> None:
        """Start at 0."""
        self.full = self.partial = self.insufficient = 0
        self.coverage = 0.0
        self.times = [0] * (len(BOUNDS_MS) + 1)
        self.parts = [0] * len(Outcome)

    def add(self, result: SearchResult) -> None:
        """Count an answer, full or partial."""
        # `outcomes` names every outcome, in order: ok is the first.
        if result.coverage.is_full:
            self.full += 1
            self.parts[0] += next(iter(result.outcomes.values()))
        else:
            self.partial += 1
            self.parts = list(map(add, self.parts, result.outcomes.values()))
        self._count(result)

    def add_insufficient(self, result: SearchResult) -> None:
        """Count a search of which too little was searched."""
        self.insufficient += 1
        self.parts = list(map(add, self.parts, result.outcomes.values()))
        self._count(result)

    def _count(self, result: SearchResult) -> None:
        self.coverage += result.coverage.fraction
        self.times[bisect_left(BOUNDS_MS, result.took_ms)] += 1
