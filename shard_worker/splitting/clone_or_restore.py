"""How a replica of a new shard begins: as a clone, or with a snapshot of one. Pure.

    a worker has the lease ► it clones the shard ► it makes a snapshot ► the others restore that

Indexing the documents costs more than ten times the CPU of making a snapshot and restoring it, so
one replica of each new shard does it for all. The lease only saves work: its holder renews it while
the clone makes progress, so if that worker dies, hangs or gives up, another one takes the lease and
clones, too. The same happens if no snapshot has been begun when the lease expires, or if making one
fails or takes too long.
"""

from enum import Enum
from typing import Final, NamedTuple

from hedgerow.common.shard_log.entries import position

# A snapshot of 10 GB takes that long at 80 MB/s.
MOST_WAIT_S: Final = 120.0


class Beginning(Enum):
    """How a replica begins."""

    CLONE = "clone"
    RESTORE = "restore"
    WAIT = "wait"  # for another one's snapshot


class Seen(NamedTuple):
    """What a worker has found out about a new shard that it lacks.

    Attributes:
        log_begins_after: the entry after which the shard's log has everything; of no account
            without a snapshot.
        snapshot: the last entry in the shard's newest snapshot; None if there is none.
        is_being_made: whether a snapshot is being made.
        waited_s: for how long that has been waited for.
        has_failed: whether the last attempt to make one has failed.
        has_turn: whether this worker clones no other shard now.
        has_lease: whether it has the lease: no other worker clones the shard, or has just done so.
    """

    log_begins_after: str
    snapshot: str | None
    is_being_made: bool
    waited_s: float
    has_failed: bool
    has_turn: bool
    has_lease: bool


def choose(seen: Seen) -> Beginning:
    """How the replica begins, by what is known now."""
    if seen.snapshot is not None and position(seen.snapshot) >= position(seen.log_begins_after):
        return Beginning.RESTORE
    if not seen.has_turn:
        return Beginning.WAIT
    if seen.has_failed or seen.waited_s >= MOST_WAIT_S:
        return Beginning.CLONE
    is_left_to_another = seen.is_being_made or not seen.has_lease
    return Beginning.WAIT if is_left_to_another else Beginning.CLONE
