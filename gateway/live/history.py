"""The last minutes of a gateway's searches, a point for each second. Pure."""

from collections import deque
from collections.abc import Sequence
from operator import sub
from typing import Final, NamedTuple

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.search.tally import BOUNDS_MS, SearchTally
from hedgerow.gateway.shapes.live import LivePoint

NUM_POINTS: Final = 300
_OUTCOMES: Final = tuple(outcome.value for outcome in Outcome)


class Totals(NamedTuple):
    """What a gateway has counted since its start, and what it has now.

    Attributes:
        full: as `SearchTally` has it; so are `partial`, `insufficient`, `coverage`, `times` and
            `parts`.
        refused: searches refused before a shard was asked.
        hedges_sent: second copies sent.
        hedges_won: second copies that answered first.
        in_flight: searches in flight now.
        limit: the admission limit now.
    """

    full: int
    partial: int
    insufficient: int
    coverage: float
    times: tuple[int, ...]
    parts: tuple[int, ...]
    refused: int = 0
    hedges_sent: int = 0
    hedges_won: int = 0
    in_flight: int = 0
    limit: int = 0

    @classmethod
    def of(
        cls,
        tally: SearchTally,
        *,
        refused: int = 0,
        hedges_sent: int = 0,
        hedges_won: int = 0,
        in_flight: int = 0,
        limit: int = 0,
    ) -> "Totals":
        """Copy a tally, which goes on counting."""
        return cls(
            tally.full,
            tally.partial,
            tally.insufficient,
            tally.coverage,
            tuple(tally.times),
            tuple(tally.parts),
            refused,
            hedges_sent,
            hedges_won,
            in_flight,
            limit,
        )


class History:
    """The newest points.

    Attributes:
        points: oldest first, at most `NUM_POINTS`.
    """

    def __init__(self, start: Totals) -> None:
        """Count from `start`."""
        self.points: deque[LivePoint] = deque(maxlen=NUM_POINTS)
        self._before = start

    def count_from(self, totals: Totals) -> None:
        """What was counted before is not in the next point."""
        self._before = totals

    def add(self, totals: Totals, at_ms: int) -> LivePoint:
        """Add a point: what has been counted since the last one."""
        before, self._before = self._before, totals
        times = list(map(sub, totals.times, before.times))
        num = sum(times)
        parts = map(sub, totals.parts, before.parts)
        point = LivePoint(
            at_ms=at_ms,
            full=totals.full - before.full,
            partial=totals.partial - before.partial,
            insufficient=totals.insufficient - before.insufficient,
            refused=totals.refused - before.refused,
            p50_ms=quantile_ms(times, 0.5),
            p99_ms=quantile_ms(times, 0.99),
            coverage=round((totals.coverage - before.coverage) / num, 4) if num else None,
            outcomes={name: count for name, count in zip(_OUTCOMES, parts, strict=True) if count},
            in_flight=totals.in_flight,
            limit=totals.limit,
            hedges_sent=totals.hedges_sent - before.hedges_sent,
            hedges_won=totals.hedges_won - before.hedges_won,
        )
        self.points.append(point)
        return point


def quantile_ms(times: Sequence[int], share: float) -> float | None:
    """Return the answer time that `share` of the answers did not exceed, in ms; None without any.

    Args:
        times: answers by bucket, as in `SearchTally`.
        share: from 0 to 1.
    """
    rank = share * sum(times)
    if not rank:
        return None
    below = 0
    for number, count in enumerate(times):
        if count and below + count >= rank:
            low = BOUNDS_MS[number - 1] if number else 0.0
            high = BOUNDS_MS[min(number, len(BOUNDS_MS) - 1)]
            return round(low + (high - low) * (rank - below) / count, 3)
        below += count
    return None
