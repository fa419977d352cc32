"""Restoring a shard in a thread, for a caller that may leave."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from unittest.mock import AsyncMock, Mock, patch

import pytest

from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.snapshots.store import SnapshotStore
from hedgerow.shard_worker.executors.thread_pool.threads import ThreadLane
from hedgerow.shard_worker.snapshots import recovery
from hedgerow.shard_worker.snapshots.recovery import restore_if_needed


async def test_a_caller_that_is_cancelled_leaves_no_thread_behind(tmp_path: Path) -> None:
    """The thread is stopped at its next piece, and has ended before the cancellation goes on.

    Another attempt could otherwise find the thread of the first one in its folders.
    """
    has_begun, has_ended = threading.Event(), threading.Event()

    def restore_shard(*_arguments: object, before_piece: Callable[[int], None]) -> None:
        has_begun.set()
        try:
            while not has_ended.wait(0.01):
                before_piece(1)
        finally:
            has_ended.set()

    threads = ThreadLane(num_threads=1, lost_after_s=60.0, name="snapshots")
    with patch.object(recovery, "restore_shard", restore_shard):
        restoring = asyncio.create_task(
            restore_if_needed(
                AsyncMock(spec=ShardLog),
                Mock(spec=SnapshotStore),
                threads,
                0,
                1,
                Settings(data=tmp_path),
            )
        )
        assert await asyncio.to_thread(has_begun.wait, 10)
        assert not has_ended.is_set()
        restoring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await restoring
        assert has_ended.is_set()
    await threads.close(1.0)
