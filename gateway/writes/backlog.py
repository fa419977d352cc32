"""Bounds how much of what this gateway has logged waits to be applied. No I/O.

A log is trimmed as it is applied, so if its length is n, at most the last n entries that a gateway
has appended are still in it. That bounds their bytes without any request.
"""

from collections import deque


class Backlog:
    """The sizes of the entries that may still be in the shards' logs.

    A log is full if it has more than `max_entries` entries, or more bytes from this gateway than
    that number of entries of the usual size: a few large documents count as much as many small
    ones.
    """

    def __init__(self, max_entries: int, entry_bytes: int) -> None:
        """Limit logs to `max_entries` entries of `entry_bytes` each."""
        self._max_entries = max_entries
        self._max_bytes = max_entries * entry_bytes
        self._sizes: dict[int, deque[int]] = {}
        self._num_bytes: dict[int, int] = {}
        self._lengths: dict[int, int] = {}

    def add(self, shard: int, num_bytes: int, length: int) -> None:
        """An entry of `num_bytes` was appended to a shard's log, whose length was then `length`."""
        self._sizes.setdefault(shard, deque()).append(num_bytes)
        self._num_bytes[shard] = self._num_bytes.get(shard, 0) + num_bytes
        self.see(shard, length)

    def see(self, shard: int, length: int) -> None:
        """A shard's log was seen to have this length."""
        self._lengths[shard] = length
        sizes = self._sizes.get(shard, ())
        while sizes and len(sizes) > length:
            self._num_bytes[shard] -= sizes.popleft()

    def is_full(self, shard: int) -> bool:
        """Return whether nothing more should be appended to a shard's log, as last seen."""
        return (
            self._lengths.get(shard, 0) > self._max_entries
            or self._num_bytes.get(shard, 0) > self._max_bytes
        )
