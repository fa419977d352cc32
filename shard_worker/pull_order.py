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
not. Those pops are also what shows that the queue has come to an end.

How a consumer uses it, with one order for all queues of the worker, since they share its lanes:

- `is_newest_first` false: pop up to `room` from the left. Tell `on_oldest` of each pop, and
  `on_short` when the pops together brought fewer than there was room for.
- true: pop up to `room` from the right (LMPOP RIGHT returns the newest first), and from each queue
  `num_drops` from the left, in the same write, without blocking. Of those, the expired are dropped;
  the others are work if there is room left, and go back to the left if not (LPUSH, the newest of
  them first, which keeps their order). Tell `on_oldest` of each left pop, and `on_short` when the
  right pops brought fewer than there was room for.
- The blocking pop may pop from either end: it waits on queues that are empty.

A request that was put at the head of its queue to go first (a hedge) is found by the left pops too.
"""

import math
from typing import Final

# CoDel's interval is 100 ms, about the longest time in which a burst should have been worked off.
INTERVAL_S: Final = 0.1
# Enter when even the luckiest has spent half of its time waiting; leave when it has spent a fifth.
ENTER_SHARE: Final = 0.5
LEAVE_SHARE: Final = 0.2
MAX_DROPS: Final = 256


class PullOrder:
    """The order that one worker pulls in, and how many of the oldest it drops beside.

    Attributes:
        is_newest_first: whether work is to be popped from the right.
        num_drops: how many to pop from the left of each queue beside the work; 0 when the oldest
            are popped anyway.
        num_switches: how often the order has changed.
    """

    __slots__ = ("_since", "is_newest_first", "num_drops", "num_switches")

    def __init__(self) -> None:
        """Start with the oldest first."""
        self.is_newest_first = False
        self.num_drops = 0
        self.num_switches = 0
        # Since when every oldest one speaks for the other order.
        self._since = math.inf

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
            self._lean(spent_share < LEAVE_SHARE, now)
        else:
            self._lean(spent_share >= ENTER_SHARE, now)

    def on_short(self, now: float) -> None:
        """There was more room than requests: whatever was standing there is gone.

        Args:
            now: the event loop's time, in s.
        """
        self._lean(self.is_newest_first, now)

    def _lean(self, is_for_change: bool, now: float) -> None:
        if not is_for_change:
            self._since = math.inf
        elif self._since == math.inf:
            self._since = now
        elif now - self._since >= INTERVAL_S:
            self.is_newest_first = not self.is_newest_first
            self.num_drops = 1 if self.is_newest_first else 0
            self.num_switches += 1
            self._since = math.inf
