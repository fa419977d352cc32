"""When a shard is copied again."""

import pytest

from hedgerow.common.settings.snapshots import SnapshotSettings
from hedgerow.common.shard_log.entries import START
from hedgerow.common.snapshots.status import SnapshotFacts, SnapshotStatus
from hedgerow.shard_worker.snapshots.policy import (
    FIRST_AFTER_S,
    RETRY_S,
    ShardNow,
    is_due,
    is_overdue,
)

HOURLY = SnapshotSettings(url="x", interval_s=3600.0, max_log_entries=100)
BY_COMMAND = SnapshotSettings(url="x", interval_s=0.0, max_log_entries=100)
MADE = SnapshotFacts("s", "5-0", 1_000_000, 1, 1)
CHANGED = ShardNow("6-0", 1, 0)
UNCHANGED = ShardNow("5-0", 0, 0)


def at(seconds_after: float) -> int:
    """The instant this long after the newest snapshot, in ms."""
    return MADE.made_at_ms + int(seconds_after * 1000)


FAILED = SnapshotStatus(MADE, failed_at_ms=at(9000))


@pytest.mark.parametrize(
    ("shard", "status", "after_s", "settings", "expected"),
    [
        (CHANGED, SnapshotStatus(MADE), 3599.0, HOURLY, False),
        (CHANGED, SnapshotStatus(MADE), 3600.0, HOURLY, True),
        (CHANGED, SnapshotStatus(MADE), 1e6, BY_COMMAND, False),
        # what has not changed is copied again only on request
        (UNCHANGED, SnapshotStatus(MADE), 1e6, HOURLY, False),
        (UNCHANGED, SnapshotStatus(MADE, wanted_at_ms=at(1)), 2.0, BY_COMMAND, True),
        (UNCHANGED, SnapshotStatus(MADE, wanted_at_ms=at(-1)), 2.0, BY_COMMAND, False),
        # a long log is a reason, schedule or none
        (ShardNow("6-0", 99, 0), SnapshotStatus(MADE), 1.0, BY_COMMAND, False),
        (ShardNow("6-0", 100, 0), SnapshotStatus(MADE), 1.0, BY_COMMAND, True),
        # one at a time, and not at once after a failure
        (CHANGED, SnapshotStatus(MADE, is_running=True), 1e6, HOURLY, False),
        (CHANGED, FAILED, 9000 + RETRY_S / 2, HOURLY, False),
        (CHANGED, FAILED, 9000 + RETRY_S, HOURLY, True),
        # the clock was set back: what has been is to come, for as long as this worker has known it
        (ShardNow("6-0", 1, 3599.0), SnapshotStatus(MADE), -1e6, HOURLY, False),
        (ShardNow("6-0", 1, 3600.0), SnapshotStatus(MADE), -1e6, HOURLY, True),
        (ShardNow("6-0", 1, 1e5, RETRY_S / 2), FAILED, -1e6, HOURLY, False),
        (ShardNow("6-0", 1, 1e5, RETRY_S), FAILED, -1e6, HOURLY, True),
    ],
)
def test_when_a_snapshot_is_due(
    shard: ShardNow,
    status: SnapshotStatus,
    after_s: float,
    settings: SnapshotSettings,
    expected: bool,
) -> None:
    """By schedule, by the log's length or by command; one at a time, and pausing after failures."""
    assert is_due(shard, status, at(after_s), settings) is expected


def test_the_first_snapshot_does_not_wait_long() -> None:
    """A shard without any is copied soon after a worker first looks, and an empty one is not."""
    assert not is_due(ShardNow("6-0", 1, FIRST_AFTER_S - 1), SnapshotStatus(), at(0), HOURLY)
    assert is_due(ShardNow("6-0", 1, FIRST_AFTER_S), SnapshotStatus(), at(0), HOURLY)
    empty = ShardNow(START, 0, 1e6)
    assert not is_due(empty, SnapshotStatus(), at(0), HOURLY)
    assert not is_overdue(empty, SnapshotStatus(), at(0), HOURLY)


@pytest.mark.parametrize(
    ("shard", "after_s", "settings", "expected"),
    [
        (CHANGED, 3 * 3600.0 - 1, HOURLY, False),
        (CHANGED, 3 * 3600.0, HOURLY, True),
        (UNCHANGED, 1e9, HOURLY, False),
        (CHANGED, 1e9, BY_COMMAND, False),
        (ShardNow("6-0", 200, 0), 1.0, BY_COMMAND, True),
        (ShardNow("6-0", 1, 3 * 3600.0 - 1), -1e6, HOURLY, False),
        (ShardNow("6-0", 1, 3 * 3600.0), -1e6, HOURLY, True),
    ],
)
def test_when_a_snapshot_is_overdue(
    shard: ShardNow, after_s: float, settings: SnapshotSettings, expected: bool
) -> None:
    """Three intervals late, or a log of twice its length; never for what has not changed."""
    assert is_overdue(shard, SnapshotStatus(MADE), at(after_s), settings) is expected
