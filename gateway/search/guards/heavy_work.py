"""Tracks which shards are busy with heavy queries, so that their timeouts can be excused."""

from collections.abc import Iterable, Mapping, Sequence

from hedgerow.common.query.cost import Cost
from hedgerow.gateway.policies.shard_result import ShardResult

# A busy shard still replies to the queries before and after a heavy one. If it has replied to
# nothing for this time, it may hang, whatever it was sent.
LONGEST_SILENCE_S = 5.0
_MANY_DOCUMENTS = 10_000_000


class HeavyWork:
    """The heavy queries of one gateway that run, or whose scorers may still be busy.

    A heavy query that misses its deadline holds its scorer until the scorer notices, or is killed
    after a grace period. Meanwhile, queries of other callers wait behind it and may miss their
    deadlines. The shard is not at fault: if its breaker opened, one caller's queries would make the
    queries of all callers fail.
    """

    def __init__(
        self, replied_at: Sequence[float], heavy_s: float, grace_s: float, now: float
    ) -> None:
        """Know of no heavy query.

        Args:
            replied_at: for each shard, when it last replied to any request; the owner keeps it up
                to date.
            heavy_s: a query is heavy if a scorer is estimated to take longer for one shard.
            grace_s: a scorer is killed if it still runs this long after the query's deadline.
            now: the instant from which a shard's silence is measured.
        """
        self._started_at = now
        self._replied_at = replied_at
        self._heavy_s = heavy_s
        self._grace_s = grace_s
        self._num_running = [0] * len(replied_at)
        self._held_until = [0.0] * len(replied_at)

    def begin(self, shards: Sequence[int], *, is_heavy: bool) -> "HeavyQuery":
        """Count a query that is sent to these shards, if it is heavy.

        Returns:
            The handle that ends it.
        """
        if not is_heavy:
            return _LIGHT
        for shard in shards:
            self._num_running[shard] += 1
        return HeavyQuery(self, shards)

    def is_heavy(self, cost: Cost, counts: Sequence[int | None]) -> bool:
        """Whether a query is heavy.

        Args:
            cost: its estimated cost.
            counts: for each shard of the cluster, how many documents it has to search.
        """
        if cost.cpu_s(_MANY_DOCUMENTS) <= self._heavy_s:
            return False
        return cost.cpu_s(max((count or 0 for count in counts), default=0)) > self._heavy_s

    def end(self, shards: Iterable[int], results: Mapping[int, ShardResult], now: float) -> None:
        """End a heavy query on these shards; called by `HeavyQuery.end`."""
        for shard in shards:
            self._num_running[shard] -= 1
            if shard not in results or results[shard].reply is None:
                self._held_until[shard] = now + self._grace_s

    def holds(self, shard: int, since: float, now: float) -> bool:
        """Whether heavy queries explain that a shard has not answered from `since` until now."""
        is_held = self._num_running[shard] > 0 or self._held_until[shard] > since
        heard_at = max(self._replied_at[shard], self._started_at)
        return is_held and heard_at > now - LONGEST_SILENCE_S


class HeavyQuery:
    """The handle of a query that was sent; does nothing if the query is not heavy."""

    __slots__ = ("_shards", "_work")

    def __init__(self, work: HeavyWork | None, shards: Sequence[int]) -> None:
        self._work = work
        self._shards = shards

    def end(self, results: Mapping[int, ShardResult], now: float) -> None:
        """The query has ended; `results` says how on each shard."""
        if self._work is not None:
            self._work.end(self._shards, results, now)


_LIGHT = HeavyQuery(None, ())
