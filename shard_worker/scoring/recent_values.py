"""Keeps recently used values, up to a limit. Pure; `now` is a time in s."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RecentValues(Generic[K, V]):
    """Values by key; the least recently used is dropped first."""

    def __init__(self, max_weight: int, let_go: Callable[[V], None] | None = None) -> None:
        """Keep values of `max_weight` together; `let_go` is called with each that goes."""
        self._max_weight = max_weight
        self._let_go = let_go
        self._weight = 0
        self._entries: dict[K, _Entry[V]] = {}  # the last used is last

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._entries))

    def get(self, key: K, now: float) -> V | None:
        """The value of a key, which counts as used; None where there is none."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        entry.used_at = now
        self._entries[key] = entry
        return entry.value

    def put(self, key: K, value: V, now: float, weight: int = 1) -> None:
        """Keep a value in place of the key's last one; one that is too heavy is kept alone."""
        self.drop(key)
        while self._entries and self._weight + weight > self._max_weight:
            self.drop(next(iter(self._entries)))
        self._entries[key] = _Entry(value, now, weight)
        self._weight += weight

    def drop(self, key: K) -> None:
        """Drop a key's value, if there is one."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._weight -= entry.weight
            if self._let_go is not None:
                self._let_go(entry.value)

    def drop_unused(self, since: float) -> None:
        """Drop the values that have not been used since a time."""
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if entry.used_at >= since:
                return
            self.drop(key)


class _Entry(Generic[V]):
    __slots__ = ("used_at", "value", "weight")

    def __init__(self, value: V, used_at: float, weight: int) -> None:
        self.value = value
        self.used_at = used_at
        self.weight = weight
