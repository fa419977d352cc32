"""Paces TLS handshakes, so that they leave most of the event loop's time to searches. Pure.

A handshake costs a server 0.3 to 2 ms, depending on its key, and a client that keeps opening
connections next to nothing. So handshakes get a share of the time, and wait when it is used up.
Addresses take turns, so a client from another address waits for one handshake, not for the
attacker's hundreds.

Times are in s, and `now` is an argument.
"""

from collections import deque
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# Limit of unused time that is saved up. It may be spent at once, while other work waits.
_LARGEST_CREDIT_S: Final = 0.01
# Shorter waits are rounding errors, below the resolution of the event loop's clock.
_SHORTEST_WAIT_S: Final = 1e-6


class HandshakeBudget:
    """A budget of time for handshakes."""

    __slots__ = ("_at", "_credit_s", "_share")

    def __init__(self, share: float) -> None:
        """Allow `share` of the time, 0 to 1."""
        self._share = share
        self._credit_s = _LARGEST_CREDIT_S
        self._at = 0.0

    def wait_s(self, now: float) -> float:
        """Return the time until the next handshake may start, in s; 0 for at once."""
        self._refill(now)
        wait_s = -self._credit_s / self._share
        return wait_s if wait_s > _SHORTEST_WAIT_S else 0.0

    def spend(self, took_s: float, now: float) -> None:
        """A handshake, or a part of one, has taken `took_s` until `now`."""
        # Spent before the refill: the limit would cut off what the budget has earned meanwhile.
        self._credit_s -= took_s
        self._refill(now)

    def _refill(self, now: float) -> None:
        grown_s = self._credit_s + max(0.0, now - self._at) * self._share
        self._credit_s = min(_LARGEST_CREDIT_S, grown_s)
        self._at = now


class Turns(Generic[T]):
    """A queue in which addresses take turns; first in, first out for each address."""

    __slots__ = ("_of_peer",)

    def __init__(self) -> None:
        self._of_peer: dict[str, deque[T]] = {}  # in the order of the turns

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._of_peer)

    def add(self, peer: str, waiting: T) -> None:
        """Add an item of an address."""
        self._of_peer.setdefault(peer, deque()).append(waiting)

    def discard(self, peer: str, waiting: T) -> None:
        """Remove an item, if it is in the queue."""
        mine = self._of_peer.get(peer)
        if mine is None or waiting not in mine:
            return
        mine.remove(waiting)
        if not mine:
            del self._of_peer[peer]

    def take(self) -> T:
        """Take the next item; the queue must not be empty."""
        peer, mine = next(iter(self._of_peer.items()))
        del self._of_peer[peer]
        taken = mine.popleft()
        if mine:
            self._of_peer[peer] = mine
        return taken
