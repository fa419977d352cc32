"""Limits the memory for the documents of all answers, and each party's share of it.

Until the answer has been sent, a fetched document is kept as the JSON that its shard sent. A reply
is measured before it is unpacked. If it would exceed the limit, it is dropped: its hits come
without fields, and the answer says why. Small replies do not count, since admission control limits
the queries in flight and thereby their number.

A client that reads slowly holds its answers for as long as it likes, and their memory cannot be
reclaimed. Callers therefore never get all of it: a party (a key, or an address without a key) may
hold at most as much as remains free. A single party may hold half; two parties at their limit hold
a third each. Whatever others hold, a new party finds room. This is the dynamic threshold by which
network switches divide their shared buffers (Choudhury and Hahne, IEEE/ACM Transactions on
Networking 6(2), 1998), with a factor of one.
"""

from typing import Final

SMALL_BYTES: Final = 65_536  # replies up to this size do not count


class AnswerMemory:
    """The memory that the large answers of one gateway hold.

    Attributes:
        held_bytes: bytes of the replies that are held.
        num_refused: replies that were dropped because the limit was reached.
    """

    __slots__ = ("_held_by", "_limit", "held_bytes", "num_refused")

    def __init__(self, limit: int) -> None:
        """Hold at most `limit` bytes."""
        self._limit = limit
        self._held_by: dict[str, int] = {}  # party → bytes, for parties that hold something
        self.held_bytes = 0
        self.num_refused = 0

    def lease(self, party: str) -> "Lease":
        """Return a lease for one answer, which holds nothing yet.

        Args:
            party: the owner of the answer, by `Caller.party`.
        """
        return Lease(self, party)

    def take(self, num_bytes: int, party: str) -> bool:
        """Count `num_bytes` more as held by a party, if it may hold them."""
        held_by_party = self._held_by.get(party, 0) + num_bytes
        held_bytes = self.held_bytes + num_bytes
        if held_by_party > self._limit - held_bytes:
            self.num_refused += 1
            return False
        self._held_by[party] = held_by_party
        self.held_bytes = held_bytes
        return True

    def give_back(self, num_bytes: int, party: str) -> None:
        """Count `num_bytes` as no longer held by a party."""
        self.held_bytes -= num_bytes
        self._held_by[party] -= num_bytes
        if not self._held_by[party]:
            del self._held_by[party]

    def as_dict(self) -> dict[str, int]:
        """For the status."""
        return {"held_bytes": self.held_bytes, "refused": self.num_refused}


class Lease:
    """The memory of one answer; returned when it is released, or with the last reference to it.

    However an answer ends (written, refused, its client gone, its task cancelled), its memory must
    become available to other answers.
    """

    __slots__ = ("_memory", "_num_bytes", "_party")

    def __init__(self, memory: AnswerMemory, party: str) -> None:
        self._memory = memory
        self._party = party
        self._num_bytes = 0

    def take(self, num_bytes: int) -> bool:
        """Hold a reply of `num_bytes`, if there is room or the reply is small; returns whether."""
        if num_bytes <= SMALL_BYTES:
            return True
        return self.hold(num_bytes)

    def hold(self, num_bytes: int) -> bool:
        """As `take`, but small parts count too: a batch keeps many of them after their searches."""
        if not self._memory.take(num_bytes, self._party):
            return False
        self._num_bytes += num_bytes
        return True

    def release(self) -> None:
        """Return all its memory."""
        num_bytes, self._num_bytes = self._num_bytes, 0
        if num_bytes:
            self._memory.give_back(num_bytes, self._party)

    def __del__(self) -> None:
        self.release()
