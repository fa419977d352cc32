"""Quantiles of durations over a sliding window, with a bounded relative error.

The buckets are DDSketch's (Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile
sketch with relative-error guarantees", VLDB 2019, https://arxiv.org/abs/1908.10693): their bounds
are the powers of (1 + e) / (1 - e), so the middle of the bucket that holds a quantile is within
the relative error e of it. The window slides in parts, of which the oldest is dropped as a whole.

A duration of which only a lower bound is known (the wait was given up) is *censored*: leaving it
out would hide slow ones, and counting it as a full duration would make them look faster.
Quantiles follow from both by the product-limit estimate (Kaplan and Meier, "Nonparametric
estimation from incomplete observations", JASA 53, 1958), which is unbiased as long as the moment
of giving up does not depend on how long the rest would have taken.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate, compress
from math import ceil, log
from operator import add
from typing import Final

RELATIVE_ERROR: Final = 0.02
MIN_S: Final = 1e-5  # shorter durations count as this
MAX_S: Final = 100.0  # longer durations count as this
NUM_PARTS: Final = 8

_GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_SCALE: Final = 1 / log(_GAMMA)
_OFFSET: Final = -log(MIN_S) * _SCALE
_NUM_BUCKETS: Final = ceil(log(MAX_S / MIN_S) * _SCALE)
_LAST: Final = _NUM_BUCKETS - 1
_BUCKETS: Final = range(_NUM_BUCKETS)
# For each bucket, the value from which no value in it differs by more than the relative error.
_MIDDLES: Final = tuple(
    MIN_S * _GAMMA**bucket * (1 + RELATIVE_ERROR) for bucket in range(_NUM_BUCKETS)
)
_ROUNDING: Final = 1e-9  # bound on the error of sums of products of floats


class _Window:
    """Counts of buckets: a dense list for the current part, and one for the earlier parts."""

    __slots__ = ("_parts", "current", "settled")

    def __init__(self) -> None:
        self.current = [0] * _NUM_BUCKETS
        self.settled = [0] * _NUM_BUCKETS
        # With a dense list for every part, a gateway with 1,000 shards would take six times the
        # memory.
        self._parts: deque[tuple[int, dict[int, int]]] = deque()

    def settle(self, part: int, oldest: int) -> None:
        """End the current part, and drop those before `oldest`."""
        settled = self.settled
        current = self.current
        # Few of the buckets are in use, so the search for them is what takes time.
        counts = {bucket: current[bucket] for bucket in compress(_BUCKETS, current)}
        if counts:
            self.current = [0] * _NUM_BUCKETS
            self._parts.append((part, counts))
            for bucket, count in counts.items():
                settled[bucket] += count
        while self._parts and self._parts[0][0] < oldest:
            for bucket, count in self._parts.popleft()[1].items():
                settled[bucket] -= count

    def counts(self) -> list[int]:
        return list(map(add, self.settled, self.current))


class QuantileSketch:
    """Durations of the last `window_s`, give or take one part of it (`NUM_PARTS`).

    A record takes 0.2 µs, a quantile 15 µs, or 50 µs with censored durations: cache the result.
    """

    __slots__ = ("_censored", "_counts", "_ends", "_min_count", "_part", "_part_s", "_window")

    def __init__(self, window_s: float, min_count: int = 1) -> None:
        """Begin with no durations.

        Args:
            window_s: time over which durations are remembered, in s.
            min_count: how many must be in the window before a quantile is returned.
        """
        self._part_s = window_s / NUM_PARTS
        self._min_count = max(min_count, 1)
        self._part = 0
        self._ends = float("-inf")  # of the current part
        self._window = _Window()
        self._counts = self._window.current
        self._censored: _Window | None = None  # few sketches need it

    def record(self, value_s: float, now: float) -> None:
        """Something took `value_s`."""
        if now >= self._ends:
            self._slide(now)
        if value_s > MIN_S:
            bucket = int(log(value_s) * _SCALE + _OFFSET)
            # min() would cost half as much as all the rest.
            self._counts[bucket if bucket < _LAST else _LAST] += 1  # noqa: FURB136 - see above
        else:
            self._counts[0] += 1

    def record_censored(self, value_s: float, now: float) -> None:
        """Something was given up after `value_s`: it would have taken longer."""
        if now >= self._ends:
            self._slide(now)
        if self._censored is None:
            self._censored = _Window()
        bucket = int(log(value_s) * _SCALE + _OFFSET) if value_s > MIN_S else 0
        self._censored.current[min(bucket, _LAST)] += 1

    def count(self, now: float) -> int:
        """How many durations are in the window, including censored ones."""
        if now >= self._ends:
            self._slide(now)
        num = sum(self._window.counts())
        return num if self._censored is None else num + sum(self._censored.counts())

    def quantile(self, q: float, now: float) -> float | None:
        """The q-quantile of the window; see `quantiles`."""
        return self.quantiles((q,), now)[0]

    def quantiles(self, qs: Sequence[float], now: float) -> list[float | None]:
        """Some quantiles of the window, each between 0 and 1.

        Of n durations in order the q-quantile is the one at 1 + ⌊q(n - 1)⌋, as in DDSketch.

        Returns:
            Seconds, within `RELATIVE_ERROR` of the quantile if that lies between `MIN_S` and
            `MAX_S`; the longest wait, if it is only known that the quantile lies beyond it; None
            with fewer durations than the minimum.
        """
        if now >= self._ends:
            self._slide(now)
        counts = self._window.counts()
        if self._censored is not None:
            censored = self._censored.counts()
            if any(censored):
                return self._product_limit(qs, counts, censored)
        ranks = list(accumulate(counts))
        num = ranks[-1]
        if num < self._min_count:
            return [None] * len(qs)
        return [_MIDDLES[bisect_right(ranks, int(q * (num - 1) + _ROUNDING))] for q in qs]

    def _product_limit(
        self, qs: Sequence[float], counts: list[int], censored: list[int]
    ) -> list[float | None]:
        num = at_risk = sum(counts) + sum(censored)
        if num < self._min_count:
            return [None] * len(qs)
        buckets: list[int] = []
        finished: list[float] = []  # by the end of each bucket, as a share
        survival = 1.0
        for bucket, (ended, given_up) in enumerate(zip(counts, censored, strict=True)):
            if ended or given_up:
                survival *= 1 - ended / at_risk
                at_risk -= ended + given_up
                buckets.append(bucket)
                finished.append(1 - survival)
        found = [
            bisect_right(finished, int(q * (num - 1) + _ROUNDING) / num + _ROUNDING / num)
            for q in qs
        ]
        last = len(buckets) - 1
        return [_MIDDLES[buckets[min(at, last)]] for at in found]

    def _slide(self, now: float) -> None:
        part = int(now // self._part_s)
        oldest = part - NUM_PARTS + 1
        for window in (self._window, self._censored):
            if window is not None:
                window.settle(self._part, oldest)
        self._counts = self._window.current
        self._part = part
        self._ends = (part + 1) * self._part_s
