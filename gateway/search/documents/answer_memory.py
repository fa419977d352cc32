"""Limits the memory for the documents of answers, of each answer and of all together.

Until the answer has been sent, a fetched document is kept as the JSON that its shard sent. A reply
is measured before it is unpacked. If it would exceed the limit, it is dropped: its hits come
without fields, and the answer says why. Small replies do not count, since admission control limits
the queries in flight and thereby their number.

A client that reads slowly holds its answers for as long as it likes, and what is held cannot be
taken back. Callers therefore never get all of the memory: a party (a key, or an address without a
key) may hold at most as much as stays free. Alone, it may hold half; two that take all they may
hold a third each. Whatever others hold, a newcomer finds room. This is the dynamic threshold by
which network switches divide their shared buffers (Choudhury and Hahne, IEEE/ACM Transactions on
Networking 6(2), 1998), with a factor of one.
"""

from typing import Final

SMALL_BYTES: Final = 65_536  # no reply that is smaller counts


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
        self._held_by: dict[str, int] = {}  # of the parties that hold something
        self.held_bytes = 0
        self.num_refused = 0

    def lease(self, party: str) -> "Lease":
        """A part for one answer, which holds nothing yet.

        Args:
            party: whose answer it is, as `Caller.party` names it.
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
        """They are held no more."""
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
        """Hold a reply of `num_bytes`, if there is room; a small one always may be."""
        if num_bytes <= SMALL_BYTES:
            return True
        if not self._memory.take(num_bytes, self._party):
            return False
        self._num_bytes += num_bytes
        return True

    def release(self) -> None:
        """Give everything back."""
        num_bytes, self._num_bytes = self._num_bytes, 0
        if num_bytes:
            self._memory.give_back(num_bytes, self._party)

    def __del__(self) -> None:
        self.release()
