"""Which entries of its log a replica has applied, while they stay there for the next snapshot."""

from bisect import bisect_right
from collections.abc import Iterable

from hedgerow.common.shard_log.log import position


class LogRetention:
    """The positions of one shard's entries that were applied here and may still be in the log."""

    __slots__ = ("_positions",)

    def __init__(self, ids: Iterable[str] = ()) -> None:
        """Begin with these entries, oldest first."""
        self._positions = [position(one) for one in ids]

    def __len__(self) -> int:
        return len(self._positions)

    def add(self, ids: Iterable[str]) -> None:
        """These were applied, oldest first, after all before them."""
        self._positions += (position(one) for one in ids)

    def trim(self, upto: str) -> None:
        """The log was trimmed up to and including this one."""
        del self._positions[: bisect_right(self._positions, position(upto))]

    def count(self, upto: str) -> int:
        """How many there are up to and including this one."""
        return bisect_right(self._positions, position(upto))


def trim_position(applied: Iterable[str], snapshot: str | None) -> str | None:
    """Up to which entry a log may be trimmed.

    Args:
        applied: the position of each replica.
        snapshot: that of the newest snapshot; None where none are made.

    Returns:
        The last entry that every replica and the newest snapshot have; None when one of them has
        nothing, or there is no replica.
    """
    needed = [position(one) for one in applied]
    if not needed:
        return None
    if snapshot is not None:
        needed.append(position(snapshot))
    milliseconds, sequence = min(needed)
    return f"{milliseconds}-{sequence}" if (milliseconds, sequence) > (0, 0) else None
