"""The end of a shard's log that a split has copied, and that a failover may have lost since.

What was copied is put back at once. Otherwise the next entries might get ids before the copies'
newest, if the new primary's clock is behind, and would never be copied. Gateways hold writes back
meanwhile.
"""

import asyncio
from collections.abc import Sequence

import structlog

from hedgerow.common.errors import SplitError
from hedgerow.common.shard_log.entries import Entry
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.shard_worker.indexing.log_tail import RecentEntries

_log = structlog.get_logger()


class CopiedEnd:
    """What was copied in the last seconds of a shard's log."""

    def __init__(self, log: ShardLog, shard: int) -> None:
        """Nothing is copied yet."""
        self._log = log
        self._shard = shard
        self._recent = RecentEntries()
        self._primary = log.primary(shard)
        self._version = self._primary.version

    def add(self, entries: Sequence[Entry]) -> None:
        """Entries were copied, oldest first; they come after all others."""
        self._recent.add(entries, asyncio.get_running_loop().time())

    async def keep(self) -> None:
        """After each failover, put back into the log what it has lost, until cancelled.

        Raises:
            SplitError: since a failover, the log has an entry before what was copied.
            RedisUnavailableError: there was no answer; call it again.
        """
        moved = asyncio.Event()
        unfollow = self._primary.follow(moved.set)
        try:
            while True:
                await self._put_back()
                await moved.wait()
                moved.clear()
        finally:
            unfollow()

    async def _put_back(self) -> None:
        version = self._primary.version
        if version == self._version:
            return
        tail = await self._log.put_back(self._shard, self._recent.list())
        if tail.restored:
            _log.warning("log_end_restored", shard=self._shard, entries=len(tail.restored), late=0)
        if tail.strangers:
            first = tail.strangers[0].id
            raise SplitError(
                f"the log of shard {self._shard} has entry {first} since a failover, before what "
                "was copied"
            )
        self._version = version
