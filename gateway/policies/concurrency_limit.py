"""How many queries one gateway may have in flight: a limit that follows the cluster's capacity.

Pure. The shape is TCP's: more while all goes well, a share less when it does not, never less on
the strength of what was sent before the last change (RFC 5681; M. Allman et al., 2009). What is
new is the signal. Limits of this kind go by the answer time (Netflix concurrency-limits
`Gradient2Limit`, Envoy's adaptive concurrency filter), or by timeouts (`AIMDLimit`). In a
scatter-gather that misleads: one hung shard makes every answer take its whole deadline, and an
answer is slow when its query is. So the limit goes by *waiting*: the time from admission to a
shard's reply less the time that the shard worked on it. It grows only when something is backed up:
a shard's queue, its lane, Redis, or this gateway's own event loop. A shard that hangs sends no
replies, so it says nothing, and a shard that is merely slow works.

A part of a query is *late* when it waited for more than a share of its query's deadline. When so
many of a window's parts are late that more than a few shards must be backed up, the limit is cut,
to a share of what was in flight (RFC 5681's FlightSize) that is the smaller the longer the parts
have waited. When hardly any is late and the limit stood in somebody's way, it grows, by twice as
much each time in a row: a shard that hangs fills the limit with queries that wait for it alone, and
room for others must be found soon. In between it stays.

It grows no further than what is known of the waits allows. In a cluster that is busy they are in
proportion to what is in flight (Little's law), so from the last of a window, and from what was in
flight when their queries were admitted, it follows at which number they would reach half of what
makes a part late. Without that bound, a limit that doubles goes far beyond what the cluster bears
before the first part is late, and what it has let in by then is late, too. What was in flight
counts, and not the limit: callers that wait as `Retry-After` says come back together, and between
their returns the limit is not reached. If the waits of such a time were taken for those at the
limit, it would grow each time, to a multiple of what the cluster bears.

docs/operations.md, "Overload", compares it in a model with those that go by the answer time
(`python -m tests.unit.support.limit_rivals`).
"""

import math
from typing import Final

from hedgerow.common.settings.tail import AdmissionSettings

# A change is judged by what was admitted after it, for at least so long and so many parts.
WINDOW_S: Final = 0.1
MIN_PARTS: Final = 16
# More than one worker of four is behind; what one slow shard of a few costs is its own share.
LATE_SHARE: Final = 0.3
# Between the two it stays, so that it does not run into the waits that make callers leave.
CALM_SHARE: Final = 0.1
_LEAST_CUT, _MOST_CUT = 0.9, 0.25
_FIRST_STEP, _MOST_STEP = 1 / 16, 1 / 2  # after a cut, and later, as a share of the limit
_ROOM: Final = 0.5  # of the wait that makes a part late: to there it may grow
_NEARLY = 0.8  # in flight at this share of the limit, the limit is what decides


class Tally:
    """The parts of one class of queries that ended in the window under way.

    Attributes:
        num_parts: those of queries that were admitted since the last cut.
        num_fresh: those of them that were admitted in the window.
        num_late: those of them that waited for too long.
        excess: sum of what the late ones waited, in what they should have.
        waited: mean of what `num_fresh` waited, in the same unit; the last ones count most.
        in_flight: mean of how many queries were in flight when theirs were admitted; likewise.
        since: when the first of `num_fresh` was admitted.
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
            num_in_flight: how many were in flight then, itself included.
            waited: how long the part has waited, in what makes it late.
        """
        self.num_fresh = num = self.num_fresh + 1
        weight = 1 / min(num, MIN_PARTS)
        self.waited += (max(0.0, waited) - self.waited) * weight
        self.in_flight += (num_in_flight - self.in_flight) * weight
        self.since = min(self.since, admitted_at)

    @property
    def most(self) -> float:
        """With how many in flight the waits would be as long as they may be."""
        return self.in_flight * _ROOM / self.waited if self.waited else math.inf

    @property
    def is_congested(self) -> bool:
        """Whether so many were late that not one or two shards alone can be behind."""
        return self.num_parts >= MIN_PARTS and self.num_late > LATE_SHARE * self.num_parts

    @property
    def is_calm(self) -> bool:
        """Whether hardly any were late."""
        return self.num_late <= CALM_SHARE * self.num_parts


class ConcurrencyLimit:
    """The limit, and the window that it is judged by.

    Classes of queries are tallied apart: those with long deadlines are late later, and must not
    outvote the others.

    Attributes:
        value: how many queries may be in flight.
        generation: grows with each cut; parts of queries admitted in an earlier one do not count.
        window: number of the window under way.
        tallies: of each class.
        peak: most queries in flight in the window.
        is_wanted: whether a query was refused for the limit in the window.
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
        """A query has ended: change the limit if the window under way says so.

        Args:
            num_in_flight: queries still in flight.
            now: the event loop's time, in s.
        """
        if now < self._ends_at:
            return
        num_fresh = sum(tally.num_fresh for tally in self.tallies)
        congested = [tally for tally in self.tallies if tally.is_congested]
        # After a pause, the first parts are back before any of what came with them has waited.
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
        """The limit at which waits would be as long as they may be; never less than it is."""
        return max(self.value, int(min(self._max, *(tally.most for tally in self.tallies))))
