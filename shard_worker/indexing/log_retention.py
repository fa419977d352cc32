"""Which entries a replica has applied that stay in the log for the next snapshot."""

from bisect import bisect_right
from collections.abc import Iterable

from hedgerow.common.shard_log.entries import position


class LogRetention:
    """The positions of one shard's entries that were applied here and may still be in the log."""

    __slots__ = ("_positions",)

    def __init__(self, ids: Iterable[str] = ()) -> None:
        """Start with these entries, oldest first."""
        self._positions = [position(one) for one in ids]

    def __len__(self) -> int:
        return len(self._positions)

    def add(self, ids: Iterable[str]) -> None:
        """Add entries that were applied, oldest first; they come after all others."""
        self._positions += (position(one) for one in ids)

    def trim(self, upto: str) -> None:
        """Remove the entries up to and including this one: the log was trimmed."""
        del self._positions[: bisect_right(self._positions, position(upto))]

    def count(self, upto: str) -> int:
        """How many entries there are up to and including this one."""
        return bisect_right(self._positions, position(upto))


def trim_position(applied: Iterable[str], snapshot: str | None) -> str | None:
    """The entry up to which a log may be trimmed.

    Args:
        applied: the position of each replica.
        snapshot: the position of the newest snapshot; None if no snapshots are made.

    Returns:
        The last entry that every replica and the newest snapshot have; None if one of them has
        none, or there is no replica.
    """
    needed = [position(one) for one in applied]
    if not needed:
        return None
    if snapshot is not None:
        needed.append(position(snapshot))
    milliseconds, sequence = min(needed)
    return f"{milliseconds}-{sequence}" if (milliseconds, sequence) > (0, 0) else None
