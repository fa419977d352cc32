"""Decides how many queries one gateway may have in flight, following the cluster's capacity.

Pure. It works like TCP's congestion control: the limit grows while all is well, is cut by a share
when it is not, and is never cut because of queries admitted before the last change (RFC 5681; M.
Allman et al., 2009). The signal is different. Other limits of this kind use the answer time
(Netflix concurrency-limits `Gradient2Limit`, Envoy's adaptive concurrency filter), or timeouts
(`AIMDLimit`). In a scatter-gather these mislead: one hung shard makes every answer take its whole
deadline, and an expensive query has a slow answer. So this limit uses *waiting*: the time from
admission to a shard's reply, less the time that the shard worked on it. Waiting grows only if
something is backed up: a shard's queue, its lane, Redis, or this gateway's own event loop. A hung
shard sends no replies, so it gives no signal, and a slow shard's time counts as work.

A part of a query is *late* if it waited for more than a share of its query's deadline. If so large
a share of a window's parts is late that more than a few shards must be backed up, the limit is cut
to a share of the number in flight (RFC 5681's FlightSize), which is smaller the longer the parts
have waited. If hardly any part is late and the limit refused a query, it grows, by twice as much
each time in a row: a hung shard fills the limit with queries that wait only for it, and room for
others is needed soon. Otherwise the limit stays.

The growth is bounded by the observed waits. In a busy cluster, waits are proportional to the number
of queries in flight (Little's law). So the last waits of a window, and the numbers in flight when
their queries were admitted, tell at which number the waits would reach half of what makes a part
late. Without that bound, a doubling limit goes far beyond the cluster's capacity before the first
part is late, and the queries admitted by then are late too. The number in flight counts, not the
limit: callers that wait as `Retry-After` says return together, and between their returns the limit
is not reached. If the waits of such times were attributed to the limit, it would grow each time, to
a multiple of the capacity.

docs/operations.md, "Overload", compares it in a model with limits that use the answer time
(`python -m tests.unit.limit_rivals`).
"""

import math
from typing import Final

from hedgerow.common.settings.tail import AdmissionSettings

# A change is judged by the parts admitted after it: for at least this time, and at least this many.
WINDOW_S: Final = 0.1
MIN_PARTS: Final = 16
# Above it, more than one worker of four is behind; one slow shard of a few costs only its own
# share.
LATE_SHARE: Final = 0.3
# Between the two the limit stays, so that waits do not become so long that callers leave.
CALM_SHARE: Final = 0.1
_LEAST_CUT, _MOST_CUT = 0.9, 0.25
_FIRST_STEP, _MOST_STEP = 1 / 16, 1 / 2  # after a cut, and later, as a share of the limit
_ROOM: Final = 0.5  # share of the wait that makes a part late, up to which the limit may grow
_NEARLY = 0.8  # if this share of the limit is in flight, the limit is considered reached


class Tally:
    """The parts of one class of queries that ended in the current window.

    Attributes:
        num_parts: parts of queries that were admitted since the last cut.
        num_fresh: those of them that were admitted in the window.
        num_late: those of `num_parts` that waited for too long.
        excess: sum of the late parts' waits, each divided by the longest wait that is not late.
        waited: mean wait of the fresh parts, in the same unit; the last ones count most.
        in_flight: mean number of queries in flight when theirs were admitted; likewise.
        since: when the query of the first fresh part was admitted.
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
            admitted_at: when the query was admitted.
            num_in_flight: how many queries were in flight then, including it.
            waited: how long the part waited, divided by the longest wait that is not late.
        """
        self.num_fresh = num = self.num_fresh + 1
        weight = 1 / min(num, MIN_PARTS)
        self.waited += (max(0.0, waited) - self.waited) * weight
        self.in_flight += (num_in_flight - self.in_flight) * weight
        self.since = min(self.since, admitted_at)

    @property
    def most(self) -> float:
        """Return the number in flight at which the waits would reach their bound."""
        return self.in_flight * _ROOM / self.waited if self.waited else math.inf

    @property
    def is_congested(self) -> bool:
        """Whether so many parts were late that more than one or two shards must be behind."""
        return self.num_parts >= MIN_PARTS and self.num_late > LATE_SHARE * self.num_parts

    @property
    def is_calm(self) -> bool:
        """Whether hardly any part was late."""
        return self.num_late <= CALM_SHARE * self.num_parts


class ConcurrencyLimit:
    """The limit, and the window by which it is adjusted.

    Classes of queries are counted separately: those with long deadlines become late later, and must
    not outvote the others.

    Attributes:
        value: how many queries may be in flight.
        generation: increases with each cut; parts of queries of an earlier one do not count.
        window: number of the current window.
        tallies: the tally of each class.
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
        self._step = float(self.value)  # nothing is known: TCP's slow start doubles too
        self._ends_at = -math.inf

    def judge(self, num_in_flight: int, now: float) -> None:
        """A query has ended: adjust the limit if the current window is complete.

        Args:
            num_in_flight: queries still in flight.
            now: the time, in s.
        """
        if now < self._ends_at:
            return
        num_fresh = sum(tally.num_fresh for tally in self.tallies)
        congested = [tally for tally in self.tallies if tally.is_congested]
        # After a pause, the first parts return before the others that came with them have waited.
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
        """Return the limit at which waits would reach their bound; at least the current limit."""
        return max(self.value, int(min(self._max, *(tally.most for tally in self.tallies))))
