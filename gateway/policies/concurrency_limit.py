"""The limit on one gateway's queries in flight, which follows the cluster's capacity. Pure.

The shape is TCP's: it increases while there is no congestion, decreases by a share when there is,
and never decreases because of what was sent before the last change (RFC 5681; M. Allman et al.,
2009). The signal is different. Other limits of this kind are based on the answer time (Netflix
concurrency-limits `Gradient2Limit`, Envoy's adaptive concurrency filter) or on timeouts
(`AIMDLimit`). In a scatter-gather, these mislead: one hung shard makes every answer take its whole
deadline, and an answer is slow if its query is. This limit is based on *waits*: the time from
admission to a shard's reply, minus the time that the shard worked on it. A wait grows only if
something is backed up: a shard's queue, its lane, Redis, or this gateway's own event loop. A hung
shard sends no replies, so it gives no signal, and the time of a slow shard is work.

A part of a query is *late* if it waited for more than a share of its query's deadline. If so
many of a window's parts are late that more than a few shards must be backed up, the limit is cut to
a share of the number in flight (RFC 5681's FlightSize), which is the smaller the longer the parts
have waited. If hardly any part is late and the limit was reached, it grows, by twice as
much each time in a row: a hung shard fills the limit with queries that wait only for it, and
room for others must be found soon. In between, it does not change.

The waits bound its growth. In a busy cluster, they are in proportion to the number in flight
(Little's law). So the latest waits of a window, and the numbers in flight when their queries were
admitted, show at which number the waits would reach half of the time that makes a part late.
Without this bound, a limit that doubles goes far beyond the cluster's capacity before the first
part is late, and the queries that it has admitted by then are late too. The number in flight
counts, not the limit: callers that wait as `Retry-After` says come back together, and between their
returns the limit is not reached. If the waits of such a time were taken for those at the limit, it
would grow each time, to a multiple of the capacity.

docs/overload.md compares it in a model with limits that are based on the answer time
(`python -m tests.unit.support.limit_rivals`).
"""

import math
from typing import Final

from hedgerow.common.settings.tail import AdmissionSettings

# A change is judged by queries admitted after it, for at least this time and number of parts.
WINDOW_S: Final = 0.1
MIN_PARTS: Final = 16
# Above this, more than one worker of four is behind; one slow shard of a few costs only its share.
LATE_SHARE: Final = 0.3
# Between the two, the limit stays, so that it does not reach waits that make callers leave.
CALM_SHARE: Final = 0.1
_LEAST_CUT, _MOST_CUT = 0.9, 0.25
_FIRST_STEP, _MOST_STEP = 1 / 16, 1 / 2  # after a cut, and later, as a share of the limit
_ROOM: Final = 0.5  # of the wait that makes a part late: the bound for growth
_NEARLY = 0.8  # from this share of the limit in flight on, the limit counts as reached


class Tally:
    """The parts of one class of queries that ended in the current window.

    Attributes:
        num_parts: parts of queries that were admitted since the last cut.
        num_fresh: those of them whose queries were admitted in the window.
        num_late: those of `num_parts` that waited for too long.
        excess: sum of the waits of late parts, in multiples of the wait that makes a part late.
        waited: mean wait of the `num_fresh` parts, in the same unit; the last ones count most.
        in_flight: mean number in flight when their queries were admitted; likewise.
        since: when the first of the `num_fresh` parts' queries was admitted.
    """

    __slots__ = ("excess", "in_flight", "num_fresh", "num_late", "num_parts", "since", "waited")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """A new window starts."""
        self.num_parts = 0
        self.num_fresh = 0
        self.num_late = 0
        self.excess = 0.0
        self.waited = 0.0
        self.in_flight = 0.0
        self.since = math.inf

    def add_fresh(self, admitted_at: float, num_in_flight: int, waited: float) -> None:
        """A part of a query that was admitted in the window has ended.

        Args:
            admitted_at: when the query was admitted, on the event loop's clock.
            num_in_flight: how many were in flight then, including this one.
            waited: how long the part waited, in multiples of the wait that makes it late.
        """
        self.num_fresh = num = self.num_fresh + 1
        weight = 1 / min(num, MIN_PARTS)
        self.waited += (max(0.0, waited) - self.waited) * weight
        self.in_flight += (num_in_flight - self.in_flight) * weight
        self.since = min(self.since, admitted_at)

    @property
    def most(self) -> float:
        """The number in flight at which the waits would be as long as they may be."""
        return self.in_flight * _ROOM / self.waited if self.waited else math.inf

    @property
    def is_congested(self) -> bool:
        """Whether enough were late that more than one or two shards must be behind."""
        return self.num_parts >= MIN_PARTS and self.num_late > LATE_SHARE * self.num_parts

    @property
    def is_calm(self) -> bool:
        """Whether hardly any were late."""
        return self.num_late <= CALM_SHARE * self.num_parts


class ConcurrencyLimit:
    """The limit, and the window by which it is judged.

    Classes of queries are counted separately: those with long deadlines are late later, and must
    not outvote the others.

    Attributes:
        value: the most queries that may be in flight.
        generation: grows with each cut; parts of queries admitted in an earlier one do not count.
        window: number of the current window.
        tallies: of each class.
        peak: most queries in flight in the window.
        is_wanted: whether the limit refused a query in the window.
    """

    __slots__ = (
        "_ends_at",
        "_max",
        "_min",
        "_step",
        "generation",
        "is_wanted",
        "peak",
        "tallies",
        "value",
        "window",
    )

    def __init__(self, settings: AdmissionSettings, num_classes: int) -> None:
        """Start at the settings' initial limit."""
        self._min = settings.min_limit
        self._max = max(settings.max_limit, settings.min_limit)
        self.value = min(max(settings.initial_limit, self._min), self._max)
        self.generation = 0
        self.window = 0
        self.tallies = tuple(Tally() for _ in range(num_classes))
        self.peak = 0
        self.is_wanted = False
        self._step = float(self.value)  # nothing is known yet: as in TCP's slow start, it doubles
        self._ends_at = -math.inf

    def take_over(self, former: "ConcurrencyLimit") -> None:
        """Go on from another limit's value, as after a cut."""
        self.value = min(max(former.value, self._min), self._max)
        self._step = max(1.0, self.value * _FIRST_STEP)

    def judge(self, num_in_flight: int, now: float) -> None:
        """A query has ended: change the limit if the current window calls for it.

        Args:
            num_in_flight: queries still in flight.
            now: the event loop's time, in s.
        """
        if now < self._ends_at:
            return
        num_fresh = sum(tally.num_fresh for tally in self.tallies)
        congested = [tally for tally in self.tallies if tally.is_congested]
        # After a pause, the first parts return before others that came with them have waited.
        is_known = num_fresh >= MIN_PARTS and now >= self._since() + WINDOW_S
        if not is_known and not congested:
            return
        before = self.value
        if congested:
            times_too_long = max(tally.excess / tally.num_late for tally in congested)
            cut = min(_LEAST_CUT, max(_MOST_CUT, 1 / times_too_long))
            self.value = max(self._min, int(min(before, self.peak) * cut))
            self._step = max(1.0, self.value * _FIRST_STEP)
            self.generation += 1
        elif not all(tally.is_calm for tally in self.tallies):
            self._step = max(1.0, before * _FIRST_STEP)
        elif self.is_wanted or self.peak >= _NEARLY * before:
            self.value = min(self._max, before + max(1, int(self._step)), self._most())
            self._step = min(2 * self._step, self.value * _MOST_STEP)
        for tally in self.tallies:
            tally.clear()
        self.peak = num_in_flight
        self.is_wanted = False
        self._ends_at = now + WINDOW_S
        self.window += 1

    def _since(self) -> float:
        return min(tally.since for tally in self.tallies)

    def _most(self) -> int:
        """The limit at which waits would be as long as they may be, at least the current limit."""
        return max(self.value, int(min(self._max, *(tally.most for tally in self.tallies))))
