"""When TLS handshakes are made, so that they leave most of the event loop's time to searches. Pure.

A handshake takes a server 0.3 to 2 ms, by its key, and a client that opens connections without an
end next to nothing. So handshakes have a share of the time; beyond it they wait. Addresses take
turns, so a client from another address waits for one handshake and not for the attacker's hundreds.

All times are of one clock, in s, and `now` is an argument.
"""

from collections import deque
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# What unused time may add up to: so much may be spent at once, while what has arrived meanwhile
# waits.
_LARGEST_CREDIT_S: Final = 0.01
# Less is due to rounding: it would not change an event loop's clock.
_SHORTEST_WAIT_S: Final = 1e-6


class HandshakeBudget:
    """The time that handshakes may take."""

    __slots__ = ("_at", "_credit_s", "_share")

    def __init__(self, share: float) -> None:
        """Give them `share` of the time."""
        self._share = share
        self._credit_s = _LARGEST_CREDIT_S
        self._at = 0.0

    def wait_s(self, now: float) -> float:
        """How long until the next may be made; 0 for at once."""
        self._refill(now)
        wait_s = -self._credit_s / self._share
        return wait_s if wait_s > _SHORTEST_WAIT_S else 0.0

    def spend(self, took_s: float, now: float) -> None:
        """One was made, or a part of it, which has taken `took_s` until `now`."""
        self._credit_s -= took_s  # first, or what was saved up while it was made would not count
        self._refill(now)

    def _refill(self, now: float) -> None:
        grown_s = self._credit_s + max(0.0, now - self._at) * self._share
        self._credit_s = min(_LARGEST_CREDIT_S, grown_s)
        self._at = now


class Turns(Generic[T]):
    """What waits, in the order in which it is taken: addresses in turn, each in its own order."""

    __slots__ = ("_of_peer",)

    def __init__(self) -> None:
        self._of_peer: dict[str, deque[T]] = {}  # the next to have a turn first

    def __bool__(self) -> bool:
        """Whether any waits."""
        return bool(self._of_peer)

    def add(self, peer: str, waiting: T) -> None:
        """Have one of an address wait."""
        self._of_peer.setdefault(peer, deque()).append(waiting)

    def discard(self, peer: str, waiting: T) -> None:
        """One waits no more, if it did."""
        mine = self._of_peer.get(peer)
        if mine is None or waiting not in mine:
            return
        mine.remove(waiting)
        if not mine:
            del self._of_peer[peer]

    def take(self) -> T:
        """Take the one whose turn it is; there is one."""
        peer, mine = next(iter(self._of_peer.items()))
        del self._of_peer[peer]
        taken = mine.popleft()
        if mine:
            self._of_peer[peer] = mine
        return taken
