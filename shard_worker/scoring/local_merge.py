"""Merges what one query found on the shards that a scorer has searched together.

A shard does not know what the other shards have found, so each would have to send the documents of
more hits than it has winners (`gateway.search.documents.attaching`). Two shards read and send
eighteen documents for ten hits. A scorer that searches several shards of a query in one batch knows
more: a hit that is not among the best of these shards is not among the best of all.
"""

from bisect import bisect_right
from collections.abc import Sequence


class LocalMerge:
    """The hits of one query on the shards that a scorer searches together."""

    __slots__ = ("_k", "_last", "_packed", "_parts")

    def __init__(self, packed: bytes, k: int) -> None:
        """Merge the hits of a search.

        Args:
            packed: its payload, by which it is recognised.
            k: how many hits the merge of all shards keeps.
        """
        self._packed = packed
        self._k = k
        self._parts: dict[int, list[tuple[float, str]]] = {}  # by shard, in the order of the merge
        self._last: tuple[float, str] | None = None  # the last that may win; None if not known

    def takes(self, packed: bytes, shard: int) -> bool:
        """Whether a shard's hits belong here: they are of the same search, and not here yet."""
        return shard not in self._parts and packed == self._packed

    def add(self, shard: int, ids: Sequence[str], scores: Sequence[float]) -> None:
        """Add a shard's hits, best first, ties by id."""
        self._parts[shard] = [(-score, one) for score, one in zip(scores, ids, strict=True)]
        self._last = None

    def num_leading(self, shard: int) -> int:
        """How many of a shard's hits are among the `k` best of the shards so far: its first."""
        hits = self._parts[shard]
        if len(self._parts) == 1 or not hits:
            return min(self._k, len(hits))
        if self._last is None:
            every = sorted([hit for part in self._parts.values() for hit in part])
            self._last = every[min(self._k, len(every)) - 1]
        return bisect_right(hits, self._last)
