"""Decides when a snapshot of a shard is due. Pure; times are in ms on the Redis server's clock.

That clock may be set back, so that what has been becomes the future. Then ages are those that this
worker has measured by itself.
"""

from typing import NamedTuple

from hedgerow.common.settings.snapshots import SnapshotSettings
from hedgerow.common.shard_log.entries import START
from hedgerow.common.snapshots.status import SnapshotStatus

RETRY_S = 30.0  # after a failed attempt
FIRST_AFTER_S = 60.0  # a shard without a snapshot does not wait for the whole interval
OVERDUE_INTERVALS = 3
OVERDUE_ENTRIES = 2  # in multiples of `snapshots.max_log_entries`


class ShardNow(NamedTuple):
    """The current state of a shard.

    Attributes:
        position: id of the last log entry that was applied.
        kept: number of entries that its log retains for the next snapshot.
        newest_s: for how long this worker has known the newest snapshot, or that there is none.
        failed_s: for how long it has known the last failure.
    """

    position: str
    kept: int
    newest_s: float
    failed_s: float = 0.0


def is_due(
    shard: ShardNow, status: SnapshotStatus, now_ms: int, settings: SnapshotSettings
) -> bool:
    """Whether a snapshot should be made now."""
    if status.is_running or (
        status.failed_at_ms and _age_s(status.failed_at_ms, now_ms, shard.failed_s) < RETRY_S
    ):
        return False
    newest = status.newest
    if status.wanted_at_ms > (newest.made_at_ms if newest else 0):
        return True
    if not _has_changed(shard, status):
        return False
    if shard.kept >= settings.max_log_entries:
        return True
    interval_s = settings.interval_s
    if newest is None:
        interval_s = min(interval_s, FIRST_AFTER_S)
    return settings.interval_s > 0 and newest_age_s(shard, status, now_ms) >= interval_s


def is_overdue(
    shard: ShardNow, status: SnapshotStatus, now_ms: int, settings: SnapshotSettings
) -> bool:
    """Whether a snapshot is long overdue, so that the log cannot be trimmed."""
    if not _has_changed(shard, status):
        return False
    if shard.kept >= OVERDUE_ENTRIES * settings.max_log_entries:
        return True
    # With an interval of 0, snapshots are made on command, and none is ever overdue by age.
    allowed_s = OVERDUE_INTERVALS * max(settings.interval_s, FIRST_AFTER_S)
    return settings.interval_s > 0 and newest_age_s(shard, status, now_ms) >= allowed_s


def _has_changed(shard: ShardNow, status: SnapshotStatus) -> bool:
    held = status.newest.position if status.newest else START
    return shard.position != held


def newest_age_s(shard: ShardNow, status: SnapshotStatus, now_ms: int) -> float:
    """How old the newest snapshot is, in s, or for how long there has been none."""
    made_at_ms = status.newest.made_at_ms if status.newest else now_ms
    return _age_s(made_at_ms, now_ms, shard.newest_s)


def _age_s(at_ms: int, now_ms: int, known_s: float) -> float:
    return max((now_ms - at_ms) / 1000, known_s)
