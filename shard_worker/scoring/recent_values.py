"""A cache of recently used values. Pure; `now` is a time in seconds, on any clock."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RecentValues(Generic[K, V]):
    """Values by key, up to a total weight; the least recently used is dropped first."""

    def __init__(self, max_weight: int, on_drop: Callable[[V], None] | None = None) -> None:
        """Keep values of at most `max_weight` in total; call `on_drop` with each dropped value."""
        self._max_weight = max_weight
        self._on_drop = on_drop
        self._weight = 0
        self._entries: dict[K, _Entry[V]] = {}  # least recently used first

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._entries))

    def get(self, key: K, now: float) -> V | None:
        """The value of a key, which counts as a use; None if there is none."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        entry.used_at = now
        self._entries[key] = entry
        return entry.value

    def put(self, key: K, value: V, now: float, weight: int = 1) -> None:
        """Set a key's value; a value heavier than the limit is kept, but no others with it."""
        self.drop(key)
        while self._entries and self._weight + weight > self._max_weight:
            self.drop(next(iter(self._entries)))
        self._entries[key] = _Entry(value, now, weight)
        self._weight += weight

    def drop(self, key: K) -> None:
        """Drop a key's value, if there is one."""
        for value in self.take(key):
            if self._on_drop is not None:
                self._on_drop(value)

    def take(self, key: K) -> list[V]:
        """As `drop`, but returns the value, if there is one, and does not call `on_drop`."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return []
        self._weight -= entry.weight
        return [entry.value]

    def take_unused(self, since: float) -> list[V]:
        """Take the values that were last used before `since`."""
        taken: list[V] = []
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if entry.used_at >= since:
                break
            taken += self.take(key)
        return taken


class _Entry(Generic[V]):
    __slots__ = ("used_at", "value", "weight")

    def __init__(self, value: V, used_at: float, weight: int) -> None:
        self.value = value
        self.used_at = used_at
        self.weight = weight
