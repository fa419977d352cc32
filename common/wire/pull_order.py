"""Which end of its queues a worker pulls from: the oldest first, or the newest. Pure.

First in, first out is fair while a queue empties now and then. Once it does not, every request
waits for the whole length of the queue, and is started just before its deadline or after it: all
are late, and all the work is wasted. The newest request, started at once, is answered in time;
callers that have waited long have mostly left. Facebook calls this adaptive LIFO (B. Maurer, "Fail
at Scale", ACM Queue 13(8), 2015), and distinguishes a standing queue from a burst as CoDel does (K.
Nichols and V. Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012; RFC 8289): by the *least*
wait over an interval. A burst that is worked off within the interval changes nothing.

A wait is measured as the share of the request's time, from sending to deadline, that had passed
when it was pulled. Above 1, the request has expired. So a worker can serve queries of 50 ms and of
5 s without a threshold in ms.

With the newest first, the oldest requests would stay in the list for ever, and it would grow
without bound. Each pull therefore also pops from the left, where the oldest is: first one request,
and twice as many each time that all of them had expired (dropping costs some µs, work some ms);
one again as soon as one had not. These pops also show when the queues are empty.

When to change back matters as much, since newest first has a price: each shard serves the newest
request at the moment when one of its scorers is free, so some shards serve their part of a query
and others do not. This pays while there are more requests than can be served, but not once the
gateways' admission control bounds those in flight. But a queue that is served newest first does not
show the difference: the requests at its far end grow old and expire in both cases, as long as there
is just enough to do. (Measured: eight shards at three to five times the saturating load, under
admission control, with workers in newest-first order from an earlier load that waited for the
oldest to be fresh: 6, 41, 94 and 97 full answers a second in four runs, of 105 oldest first.) So
the order changes back

- when the queues are empty, since there is no order then;
- otherwise by trial, like a breaker's probe: after a time the oldest go first, and if that fails,
  they do so again after twice as long. A trial that fails costs an interval.

A consumer uses one order for all queues of the worker, since they share its lanes:

- If `is_newest_first` is false, pop up to `room` from the left. Call `on_oldest` for each pop, and
  `on_short` if the pops together returned fewer than they asked for.
- If it is true, pop up to `room` from the right (LMPOP RIGHT returns the newest first), and from
  each queue `num_drops` from the left, in the same write, without blocking. Of the latter, expired
  requests are dropped; the others are work if there is room left, and otherwise go back to the left
  (LPUSH, the newest of them first, which keeps their order). Call `on_oldest` for each left pop,
  and `on_short` if none of them found anything.
- The blocking pop may pop from either end: it waits on queues that are empty.

The left pops also find a request that was put at the head of its queue to go first (a hedge).
"""

import math
from typing import Final

# CoDel's interval is 100 ms, about the longest time in which a burst should have been worked off. A
# gateway adjusts its limit as often, and needs as long again to work off what it admitted before.
INTERVAL_S: Final = 0.2
# A request that has waited for more of its time is near its deadline once scored, fetched and
# merged. Admission control keeps waits to half of this (`admission.wait_share`), and to less than
# this when they fluctuate, so with it the order rarely changes.
ENTER_SHARE: Final = 0.7
FIRST_PATIENCE_S: Final = 0.5
LONGEST_PATIENCE_S: Final = 8.0
# A trial of oldest first that lasts this long has not failed.
LASTING_S: Final = 1.0
MAX_DROPS: Final = 256


class PullOrder:
    """The order in which one worker pulls, and how many of the oldest it also pops.

    Attributes:
        is_newest_first: whether to pop work from the right.
        num_drops: how many to pop from the left of each queue in addition; 0 if the oldest are
            popped anyway.
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
        self._late_since = math.inf  # since when every oldest request has waited too long
        self._patience_s = FIRST_PATIENCE_S
        self._trial_at = math.inf  # when the oldest are to go first again
        self._trial_began = -math.inf

    def on_oldest(self, spent_share: float, num_popped: int, num_expired: int, now: float) -> None:
        """Note a pop from the left that returned requests.

        Args:
            spent_share: the share of its time, from sending to deadline, that the oldest of them
                had spent; over 1 if it has expired.
            num_popped: how many requests it returned.
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
        """Note that the queues are empty: there is no standing queue any more."""
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
