"""Totals of how searches have ended; they only grow. The last minutes are drawn from them.

Refusals are counted by admission control.
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
        all_ok: those of them for which every shard was asked.
        partial: answers that reflect less.
        insufficient: searches that failed because too little, or nothing, was searched.
        coverage: the sum of their coverages.
        times: answers by answer time: those above `BOUNDS_MS[n - 1]` and up to `BOUNDS_MS[n]`.
        parts: shards' parts by outcome, in the order of `Outcome`.
    """

    __slots__ = ("all_ok", "coverage", "full", "insufficient", "partial", "parts", "times")

    def __init__(self) -> None:
        """Start at 0."""
        self.full = self.all_ok = self.partial = self.insufficient = 0
        self.coverage = 0.0
        self.times = [0] * (len(BOUNDS_MS) + 1)
        self.parts = [0] * len(Outcome)

    def add_full(self, num_shards: int, took_ms: float) -> None:
        """Count an answer for which all of `num_shards` shards are ok."""
        self.full += 1
        self.all_ok += 1
        self.parts[0] += num_shards  # ok is the first outcome
        self._count(1.0, took_ms)

    def add_skipping(self, result: SearchResult) -> None:
        """Count an answer that reflects every document, with shards that were skipped."""
        self.full += 1
        self._count_parts(result)

    def add_partial(self, result: SearchResult) -> None:
        """Count an answer that reflects less."""
        self.partial += 1
        self._count_parts(result)

    def add_insufficient(self, result: SearchResult) -> None:
        """Count a search of which too little was searched."""
        self.insufficient += 1
        self._count_parts(result)

    def _count_parts(self, result: SearchResult) -> None:
        # `outcomes` names every outcome, in order.
        self.parts = list(map(add, self.parts, result.outcomes.values()))
        self._count(result.coverage.fraction, result.took_ms)

    def _count(self, coverage: float, took_ms: float) -> None:
        self.coverage += coverage
        self.times[bisect_left(BOUNDS_MS, took_ms)] += 1
