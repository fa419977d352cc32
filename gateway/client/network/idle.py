"""Decides which idle connection is used next, and which are too old."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class IdleConnections(Generic[T]):
    """A stack: the connection used last is used next, so that those left by a burst expire."""

    def __init__(self, keepalive_s: float) -> None:
        """Expire connections that have been idle for longer than `keepalive_s`."""
        self._keepalive_s = keepalive_s
        self._stack: deque[tuple[float, T]] = deque()  # since when, ascending; the connection

    def __len__(self) -> int:
        """Return the number of connections."""
        return len(self._stack)

    def put(self, connection: T, now: float) -> None:
        """Add a connection that has just been used."""
        self._stack.append((now, connection))

    def take(self) -> T | None:
        """Remove and return the connection used last; call `expire` first."""
        return self._stack.pop()[1] if self._stack else None

    def expire(self, now: float) -> list[T]:
        """Remove and return those that are too old."""
        expired = []
        while self._stack and now - self._stack[0][0] > self._keepalive_s:
            expired.append(self._stack.popleft()[1])
        return expired

    def clear(self) -> list[T]:
        """Remove and return all."""
        found = [connection for _, connection in self._stack]
        self._stack.clear()
        return found
