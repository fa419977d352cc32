"""Which end of its queues a worker pulls from: the oldest first, or the newest. Pure.

First in, first out is fair while a queue empties now and then. Once it does not, every request
waits for as long as the queue is, until each is started just before its deadline or after it: all
are late, and all the work is for nothing. The newest, started at once, is answered in time; who has
waited for long has mostly left. Facebook calls it adaptive LIFO (B. Maurer, "Fail at Scale", ACM
Queue 13(8), 2015), and tells a standing queue from a burst as CoDel does (K. Nichols and V.
Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012; RFC 8289): by the *least* wait over an
interval. A burst that is worked off within it changes nothing.

A wait counts here by what the request had to give: the share of its time, from sending to deadline,
that it had spent when it was pulled. Past 1 it has expired. So one worker serves queries of 50 ms
and of 5 s without a threshold in ms.

In newest-first order the oldest would lie in the list for ever, and it would grow without bound, so
each pull also pops from the left, where the oldest is: first one, and twice as many each time that
all of them had expired (dropping costs some µs, work some ms), back to one at the first that had
not. Those pops are also what shows that the queues have come to an end.

How it ends matters as much, since it has a price: each shard serves what is newest when one of its
scorers is free, so that of a query some shards serve their part and others do not. It is worth that
while there is more than can be served, and not once the gateways' admission control holds what is
in flight to what the shards can bear. But nothing in a queue that is served newest first tells one
from the other: what lies at its far end grows old and expires either way, for as long as there is
just enough to do. (Measured: eight shards at three to five times the saturating load, under
admission control, with workers that an earlier load had turned round and that waited for the oldest
to be fresh: 6, 41, 94 and 97 full answers a second in four runs, of 105 oldest first.) So the order
changes back

- when nothing is left in the queues, where there is no order;
- otherwise by trial, like a breaker's: after a time the oldest go first, and if they were not worth
  it, they do so again after twice as long. A trial that fails costs an interval.

How a consumer uses it, with one order for all queues of the worker, since they share its lanes:

- `is_newest_first` false: pop up to `room` from the left. Tell `on_oldest` of each pop, and
  `on_short` when the pops together brought fewer than they asked for.
- true: pop up to `room` from the right (LMPOP RIGHT returns the newest first), and from each queue
  `num_drops` from the left, in the same write, without blocking. Of those, the expired are dropped;
  the others are work if there is room left, and go back to the left if not (LPUSH, the newest of
  them first, which keeps their order). Tell `on_oldest` of each left pop, and `on_short` when none
  of them found anything.
- The blocking pop may pop from either end: it waits on queues that are empty.

A request that was put at the head of its queue to go first (a hedge) is found by the left pops too.
"""

import math
from typing import Final

# CoDel's interval is 100 ms, about the longest time in which a burst should have been worked off. A
# gateway's limit is judged as often, and what it let in before is worked off in as long again.
INTERVAL_S: Final = 0.2
# What had spent more of its time waiting is, once scored, fetched and merged, near its deadline.
# Admission control keeps waits to half of that (`admission.wait_share`), its swings included to
# less: where it is at work, the order is seldom changed.
ENTER_SHARE: Final = 0.7
FIRST_PATIENCE_S: Final = 0.5
LONGEST_PATIENCE_S: Final = 8.0
# Oldest first for so long, and a trial of it was no failure.
LASTING_S: Final = 1.0
MAX_DROPS: Final = 256


class PullOrder:
    """The order that one worker pulls in, and how many of the oldest it drops beside.

    Attributes:
        is_newest_first: whether work is to be popped from the right.
        num_drops: how many to pop from the left of each queue beside the work; 0 when the oldest
            are popped anyway.
        num_switches: how often the order has changed.
    """

    __slots__ = (
        "_late_since",
        "_patience_s",
        "_trial_at",
        "_trial_began",
        "is_newest_first",
        "num_drops",
        "num_switches",
    )

    def __init__(self) -> None:
        """Start with the oldest first."""
        self.is_newest_first = False
        self.num_drops = 0
        self.num_switches = 0
        self._late_since = math.inf  # since when every oldest one speaks for the other order
        self._patience_s = FIRST_PATIENCE_S
        self._trial_at = math.inf  # when the oldest are to go first again
        self._trial_began = -math.inf

    def on_oldest(self, spent_share: float, num_popped: int, num_expired: int, now: float) -> None:
        """A pop from the left has brought something.

        Args:
            spent_share: of the time that the first of them, the oldest, had from sending to
                deadline, how much it had spent; over 1 when it has expired.
            num_popped: how many it brought.
            num_expired: how many of them had expired.
            now: the event loop's time, in s.
        """
        if self.is_newest_first:
            all_expired = num_expired == num_popped
            self.num_drops = min(2 * self.num_drops, MAX_DROPS) if all_expired else 1
            if now >= self._trial_at:
                self._trial_began = now
                self._take_oldest()
        elif spent_share < ENTER_SHARE:
            self._late_since = math.inf
        elif self._late_since == math.inf:
            self._late_since = now
        elif now - self._late_since >= INTERVAL_S:
            self._take_newest(now)

    def on_short(self) -> None:
        """The queues are empty: whatever was standing there is gone."""
        self._late_since = math.inf
        if self.is_newest_first:
            self._trial_began = -math.inf
            self._take_oldest()

    def _take_newest(self, now: float) -> None:
        has_failed = now - self._trial_began < LASTING_S
        self._patience_s = (
            min(2 * self._patience_s, LONGEST_PATIENCE_S) if has_failed else FIRST_PATIENCE_S
        )
        self._trial_at = now + self._patience_s
        self.is_newest_first = True
        self.num_drops = 1
        self.num_switches += 1

    def _take_oldest(self) -> None:
        self._late_since = math.inf
        self.is_newest_first = False
        self.num_drops = 0
        self.num_switches += 1
