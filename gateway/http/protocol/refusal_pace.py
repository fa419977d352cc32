"""Decides when a refusal is sent: at once, or later if the caller ignores `Retry-After`. Pure.

If a caller asks again as soon as it is refused, the gateway refuses it as fast as it can ask. A
hundred such callers would use up, for refusals, the CPU that answers need. So if a request on a
connection was refused before, the next refusal is sent only when the time in `Retry-After` has
passed, or at the deadline of its query if that is sooner. Only refusals wait: an admitted query is
answered as usual, and a caller that waits as asked, or uses another connection, is refused at once.

A caller with many connections, such as a proxy, opens more of them while refusals wait. The number
of waiting refusals is therefore bounded; beyond it, refusals are sent at once.
"""

import math
from typing import Final

# The refusals of a tick are sent together, so that they and the requests that follow them wake the
# gateway once; a tick is short enough that they do not delay its other work.
TICK_S: Final = 0.01
# One address may have at most a quarter of the waiting refusals.
_PEER_SHARE: Final = 0.25


class RefusalPace:
    """The waiting refusals of a server.

    Attributes:
        num_held: how many refusals wait.
    """

    __slots__ = ("_held_of", "_max", "_max_of_peer", "num_held")

    def __init__(self, max_held: int) -> None:
        """Hold at most `max_held`; none with 0."""
        self.num_held = 0
        self._held_of: dict[str, int] = {}
        self._max = max_held
        self._max_of_peer = max_held * _PEER_SHARE

    def hold(self, peer: str) -> bool:
        """Make a refusal to an address wait; returns whether there is room for it."""
        held = self._held_of.get(peer, 0)
        if self.num_held >= self._max or held >= self._max_of_peer:
            return False
        self.num_held += 1
        self._held_of[peer] = held + 1
        return True

    def release(self, peer: str) -> None:
        """A refusal to this address has stopped waiting."""
        self.num_held -= 1
        self._held_of[peer] -= 1
        if not self._held_of[peer]:
            del self._held_of[peer]


class ConnectionPace:
    """Decides when the refusals of one connection are sent."""

    __slots__ = ("_is_holding", "_pace", "_peer", "_refused_until")

    def __init__(self, pace: RefusalPace, peer: str) -> None:
        """Start a connection from `peer` without a refusal."""
        self._pace = pace
        self._peer = peer
        self._refused_until = -math.inf
        self._is_holding = False

    def hold(self, deadline_s: float, now: float) -> float:
        """Return when to send the refusal of a query; `now` for at once.

        Args:
            deadline_s: time until the query's deadline, in s.
            now: the time, in s.
        """
        until = min(self._refused_until, now + deadline_s)
        if until <= now or not self._pace.hold(self._peer):
            return now
        self._is_holding = True
        at = math.floor(until / TICK_S) * TICK_S
        return at if at > now else until

    def release(self) -> None:
        """If a refusal waits, it has stopped waiting."""
        if self._is_holding:
            self._is_holding = False
            self._pace.release(self._peer)

    def refuse(self, wait_s: float, now: float) -> None:
        """A refusal is sent that asks the client to wait for `wait_s`."""
        self._refused_until = now + wait_s
