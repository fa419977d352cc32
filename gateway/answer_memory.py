"""Limits the memory for the documents of answers, of each answer and of all together.

Until the answer has been sent, a fetched document is kept as the JSON that its shard sent. A reply
is measured before it is unpacked. If it would exceed the limit, it is dropped: its hits come
without fields, and the answer says why. Small replies do not count, since admission control limits
the queries in flight and thereby their number.
"""

from typing import Final

SMALL_BYTES: Final = 65_536  # no reply that is smaller counts


class AnswerMemory:
    """The memory that the large answers of one gateway hold.

    Attributes:
        held_bytes: bytes of the replies that are held.
        num_refused: replies that were dropped because the limit was reached.
    """

    __slots__ = ("_limit", "held_bytes", "num_refused")

    def __init__(self, limit: int) -> None:
        """Hold at most `limit` bytes."""
        self._limit = limit
        self.held_bytes = 0
        self.num_refused = 0

    def lease(self) -> "Lease":
        """A share for one answer, which holds nothing yet."""
        return Lease(self)

    def take(self, num_bytes: int) -> bool:
        """Count `num_bytes` more as held, if there is room for them."""
        if self.held_bytes + num_bytes > self._limit:
            self.num_refused += 1
            return False
        self.held_bytes += num_bytes
        return True

    def give_back(self, num_bytes: int) -> None:
        """They are held no more."""
        self.held_bytes -= num_bytes

    def as_dict(self) -> dict[str, int]:
        """For the status."""
        return {"held_bytes": self.held_bytes, "refused": self.num_refused}


class Lease:
    """The memory of one answer; returned when it is released, or with the last reference to it.

    However an answer ends (written, refused, its client gone, its task cancelled), its memory must
    become available to other answers.
    """

    __slots__ = ("_memory", "_num_bytes")

    def __init__(self, memory: AnswerMemory) -> None:
        self._memory = memory
        self._num_bytes = 0

    def take(self, num_bytes: int) -> bool:
        """Hold a reply of `num_bytes`, if there is room; a small one always may be."""
        if num_bytes <= SMALL_BYTES:
            return True
        if not self._memory.take(num_bytes):
            return False
        self._num_bytes += num_bytes
        return True

    def release(self) -> None:
        """Give everything back."""
        num_bytes, self._num_bytes = self._num_bytes, 0
        if num_bytes:
            self._memory.give_back(num_bytes)

    def __del__(self) -> None:
        self.release()
