"""When a refusal leaves: at once, or, if the caller ignores `Retry-After`, later. Pure.

A caller that asks again as soon as it is refused makes the gateway refuse it as fast as it can ask.
A hundred such callers would spend the CPU that answers need, on refusals. So a refusal on a
connection that was refused before leaves only when the time that `Retry-After` named has passed, or
with the deadline of its query if that is sooner. Only refusals wait: what is admitted is answered
as ever, and a caller that waits as it was asked to, or comes by another connection, is refused at
once.

A caller whose requests come by many connections, as those behind a proxy do, opens more of them
while refusals wait. Their number is therefore bounded; beyond it refusals leave at once.
"""

import math
from typing import Final

# Those of a tick leave together, which wakes the gateway less often; few enough that what else it
# has to do does not wait for them.
TICK_S: Final = 0.002
# An address may have a quarter of those that may wait.
_PEER_SHARE: Final = 0.25


class RefusalPace:
    """The refusals of one server that wait.

    Attributes:
        num_held: how many there are.
    """

    __slots__ = ("_held_of", "_max", "_max_of_peer", "num_held")

    def __init__(self, max_held: int) -> None:
        """Hold at most `max_held`; none with 0."""
        self.num_held = 0
        self._held_of: dict[str, int] = {}
        self._max = max_held
        self._max_of_peer = max_held * _PEER_SHARE

    def hold(self, peer: str) -> bool:
        """Have a refusal to an address wait; return whether there is room for it."""
        held = self._held_of.get(peer, 0)
        if self.num_held >= self._max or held >= self._max_of_peer:
            return False
        self.num_held += 1
        self._held_of[peer] = held + 1
        return True

    def release(self, peer: str) -> None:
        """A refusal to this address waits no more."""
        self.num_held -= 1
        self._held_of[peer] -= 1
        if not self._held_of[peer]:
            del self._held_of[peer]


class ConnectionPace:
    """When the refusals of one connection leave."""

    __slots__ = ("_is_holding", "_pace", "_peer", "_refused_until")

    def __init__(self, pace: RefusalPace, peer: str) -> None:
        """Start a connection from `peer` that was never refused."""
        self._pace = pace
        self._peer = peer
        self._refused_until = -math.inf
        self._is_holding = False

    def hold(self, deadline_s: float, now: float) -> float:
        """When the refusal of a query leaves; `now` for at once.

        If it is to wait, it counts as waiting until `release`.

        Args:
            deadline_s: of the query, from now.
            now: the event loop's time, in s.
        """
        until = min(self._refused_until, now + deadline_s)
        at = math.floor(until / TICK_S) * TICK_S if until > now else now
        if at <= now or not self._pace.hold(self._peer):
            return now
        self._is_holding = True
        return at

    def release(self) -> None:
        """A refusal that waits, if there is one, waits no more."""
        if self._is_holding:
            self._is_holding = False
            self._pace.release(self._peer)

    def refuse(self, wait_s: float, now: float) -> None:
        """A refusal leaves that asks the client to wait for so long."""
        self._refused_until = now + wait_s
