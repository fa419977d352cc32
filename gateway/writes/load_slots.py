"""Limits the number of concurrent bulk loads, and chooses which one makes room. Pure.

Each load takes up to several megabytes: the line that is being received, documents that wait for
fields, and batches. Their number is therefore limited. A client that keeps a load open without
sending acceptable documents must not keep other clients out: if all slots are taken, the load that
has waited longest for its client to send a document is ended. Only accepted documents count:
rejected lines cost a client nothing, and could keep a slot for ever. Nor must a client with many
loads keep others out: if a party (a key, or an address) has at least two slots more than the
caller, its load that has waited longest for its client is ended.
"""

import math
from collections import Counter

from hedgerow.common.errors import OverloadedError


class LoadSlot:
    """The slot of one load.

    Attributes:
        party: the owner of the load.
        has_lost: whether another load has taken the slot; this one must end.
    """

    __slots__ = ("_progress", "_progress_at", "has_lost", "party", "waits_since")

    def __init__(self, now: float, party: str) -> None:
        self.party = party
        self.has_lost = False
        self.waits_since: float | None = now
        self._progress = 0
        self._progress_at = now

    def work(self) -> None:
        """The load has lines to process, so it does not wait for its client."""
        self.waits_since = None

    def wait(self, now: float, progress: int) -> None:
        """The load has nothing to do until its client completes a line.

        It counts as waiting since its last progress, since its work after that was of no use.

        Args:
            now: the time, in s.
            progress: grows with each document that is accepted, and each that is logged.
        """
        if progress > self._progress:
            self._progress = progress
            self._progress_at = now
        self.waits_since = self._progress_at


class LoadSlots:
    """The slots for a gateway's loads."""

    def __init__(self, max_loads: float = math.inf, idle_s: float = math.inf) -> None:
        """Allow `max_loads` at once.

        A load may lose its slot if it waits for its client, and no document of it was accepted for
        `idle_s`.
        """
        self._max_loads = max_loads
        self._idle_s = idle_s
        self._taken: set[LoadSlot] = set()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, now: float, party: str = "") -> LoadSlot:
        """Give a slot to a new load.

        Args:
            now: the time, in s.
            party: the owner of the load, by `Caller.party`.

        Raises:
            OverloadedError: every slot is taken, and no load gives way.
        """
        if len(self._taken) >= self._max_loads:
            loser = self._idle(now) or self._of_the_largest(party)
            if loser is None:
                raise OverloadedError(
                    f"{self._max_loads} bulk loads are under way, and gateway.max_loads allows no "
                    "more",
                    "loads",
                )
            loser.has_lost = True
            self._taken.discard(loser)
        slot = LoadSlot(now, party)
        self._taken.add(slot)
        return slot

    def _idle(self, now: float) -> LoadSlot | None:
        """Return the load that has waited longest for its client, if that is too long."""
        longest = min(self._taken, key=lambda slot: _since(slot, now))
        return longest if now - _since(longest, now) >= self._idle_s else None

    def _of_the_largest(self, party: str) -> LoadSlot | None:
        """Return the longest waiting load of the party with most slots, if it has too many."""
        counts = Counter(slot.party for slot in self._taken)
        largest, count = counts.most_common(1)[0]
        if count < counts[party] + 2:
            return None
        waiting = [
            slot for slot in self._taken if slot.party == largest and slot.waits_since is not None
        ]
        return min(waiting, key=lambda slot: slot.waits_since or 0.0, default=None)

    def give_back(self, slot: LoadSlot) -> None:
        """A load has ended; no effect if it has lost its slot."""
        self._taken.discard(slot)


def _since(slot: LoadSlot, now: float) -> float:
    return now if slot.waits_since is None else slot.waits_since
