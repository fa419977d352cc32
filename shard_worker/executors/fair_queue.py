"""The queue of a lane, in which no rank profile waits behind another."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """One first-in, first-out queue for each profile, served in rotation."""

    __slots__ = ("_length", "_queues")

    def __init__(self) -> None:
        """Start with an empty queue."""
        self._queues: dict[str, deque[T]] = {}  # none is empty; the first has the next turn
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for waiting in self._queues.values():
            yield from waiting

    def count(self, profile: str) -> int:
        """How many items of a profile wait."""
        waiting = self._queues.get(profile)
        return 0 if waiting is None else len(waiting)

    def profiles(self) -> list[str]:
        """The profiles with waiting items, in the order of their turns."""
        return list(self._queues)

    def append(self, profile: str, item: T) -> None:
        """Append an item after all others of its profile."""
        self._length += 1
        waiting = self._queues.get(profile)
        if waiting is None:
            self._queues[profile] = deque((item,))
        else:
            waiting.append(item)

    def put_back(self, profile: str, item: T) -> None:
        """Put an item before all others of its profile."""
        self._length += 1
        self._queues.setdefault(profile, deque()).appendleft(item)

    def next_profile(self, may_take: Callable[[str], bool]) -> str | None:
        """The first profile in turn that may take a place; None if there is none."""
        for profile in self._queues:
            if may_take(profile):
                return profile
        return None

    def first(self, profile: str) -> T | None:
        """The first item of a profile; None if there is none."""
        waiting = self._queues.get(profile)
        return None if waiting is None else waiting[0]

    def pop(self, profile: str) -> T:
        """Take the first item of a profile, which must have one."""
        waiting = self._queues[profile]
        item = waiting.popleft()
        self._length -= 1
        if not waiting:
            del self._queues[profile]
        return item

    def end_turn(self, profile: str) -> None:
        """Put a profile last in turn."""
        if (waiting := self._queues.pop(profile, None)) is not None:
            self._queues[profile] = waiting

    def remove(self, profile: str, item: T) -> None:
        """Remove an item, which must be waiting."""
        waiting = self._queues[profile]
        waiting.remove(item)
        self._length -= 1
        if not waiting:
            del self._queues[profile]

    def take_all(self) -> list[T]:
        """Take all items."""
        items = list(self)
        self._queues.clear()
        self._length = 0
        return items

    def replace(self, items: Iterable[tuple[str, T]]) -> None:
        """Replace all items by others, given with their profiles; turns stay."""
        kept: dict[str, deque[T]] = {profile: deque() for profile in self._queues}
        self._length = 0
        for profile, item in items:
            self._length += 1
            kept.setdefault(profile, deque()).append(item)
        self._queues = {profile: waiting for profile, waiting in kept.items() if waiting}
