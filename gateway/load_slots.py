"""Limits the bulk loads at once, and chooses the one that makes room for another. Pure.

Each load holds up to several megabytes: the line that is being received, documents that wait for
fields, and batches. Their number is therefore limited. A client that keeps a load open and sends
nothing must not keep other clients out: if all places are taken, the load that has waited longest
for its client to complete a line is ended.
"""

import math

from common.errors import OverloadedError


class LoadSlot:
    """One load's place.

    Attributes:
        has_lost: whether another load has taken the place; this one must end.
    """

    __slots__ = ("has_lost", "waits_since")

    def __init__(self, now: float) -> None:
        self.has_lost = False
        self.waits_since: float | None = now

    def work(self) -> None:
        """The load has lines to see to, so that it does not wait for its client."""
        self.waits_since = None

    def wait(self, now: float) -> None:
        """The load has nothing to do until its client completes a line."""
        if self.waits_since is None:
            self.waits_since = now


class LoadSlots:
    """The places of a gateway's loads."""

    def __init__(self, max_loads: float = math.inf, idle_s: float = math.inf) -> None:
        """Allow `max_loads` at once; a load that has waited for `idle_s` may lose its place."""
        self._max_loads = max_loads
        self._idle_s = idle_s
        self._taken: set[LoadSlot] = set()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, now: float) -> LoadSlot:
        """Give a place to a load that begins.

        Raises:
            OverloadedError: every place is taken by a load whose client sends.
        """
        if len(self._taken) >= self._max_loads:
            idle = min(self._taken, key=lambda slot: _since(slot, now))
            if now - _since(idle, now) < self._idle_s:
                raise OverloadedError(
                    f"{self._max_loads} bulk loads are under way, and gateway.max_loads allows no "
                    "more",
                    "loads",
                )
            idle.has_lost = True
            self._taken.discard(idle)
        slot = LoadSlot(now)
        self._taken.add(slot)
        return slot

    def give_back(self, slot: LoadSlot) -> None:
        """A load has ended; if it has lost its place, there is nothing to give back."""
        self._taken.discard(slot)


def _since(slot: LoadSlot, now: float) -> float:
    return now if slot.waits_since is None else slot.waits_since
