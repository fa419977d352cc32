"""Puts back into a log what a failover of Redis has lost of its end.

Redis replicates asynchronously: a new primary may lack the last entries that the old one has given
to workers. Each worker keeps what it has applied in the last seconds. After a failover, gateways
hold their writes back for a moment (`Primary.settled`), and the workers append again, under the
same ids, what they have applied and the log lacks. So all replicas get the same entries, and ids
stay above what was applied, whatever the clock of the new primary says.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

import structlog

from hedgerow.common.shard_log.entries import Entry, RestoredTail
from hedgerow.common.shard_log.log import ShardLog

MAX_AGE_S: Final = 10.0
MAX_BYTES: Final = 2_000_000  # of one shard's
HINT: Final = "this replica has writes that the log and perhaps others lack"

_log = structlog.get_logger()


class RecentEntries:
    """The entries of one log that were applied in the last seconds, as far as there is room."""

    def __init__(self, max_age_s: float = MAX_AGE_S, max_bytes: int = MAX_BYTES) -> None:
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._entries: deque[tuple[float, Entry]] = deque()
        self._num_bytes = 0

    def add(self, entries: Iterable[Entry], now: float) -> None:
        """Add entries that were applied, oldest first; they come after all others."""
        for entry in entries:
            self._entries.append((now, entry))
            self._num_bytes += len(entry.op)
        oldest = now - self._max_age_s
        while self._entries and (self._entries[0][0] < oldest or self._num_bytes > self._max_bytes):
            self._num_bytes -= len(self._entries.popleft()[1].op)

    def list(self) -> list[Entry]:
        """The entries, oldest first."""
        return [entry for _, entry in self._entries]


class LogTails:
    """What this worker could put back into the logs of its shards."""

    def __init__(self, log: ShardLog) -> None:
        self._log = log
        self._recent: dict[int, RecentEntries] = {}

    def add(self, shard: int, entries: Iterable[Entry]) -> None:
        """Entries were applied to a shard."""
        recent = self._recent.setdefault(shard, RecentEntries())
        recent.add(entries, asyncio.get_running_loop().time())

    def forget(self, shard: int) -> None:
        """The worker has closed a shard."""
        self._recent.pop(shard, None)

    async def restore(self, shard: int, applied: str) -> RestoredTail:
        """Put back what the log lacks.

        Args:
            shard: the shard.
            applied: its position: every future entry gets an id after it.

        Returns:
            What was done, and the entries before `applied` that have yet to be applied: they were
            written between the failover and this call.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        entries = self._recent[shard].list() if shard in self._recent else []
        restored = await self._log.restore(shard, applied, entries)
        if restored.num_lost:
            _log.error(
                "log_end_lost",
                shard=shard,
                position=applied,
                entries=restored.num_lost,
                hint=HINT,
            )
        if restored.restored or restored.strangers:
            _log.warning(
                "log_end_restored",
                shard=shard,
                entries=len(restored.restored),
                late=len(restored.strangers),
            )
        return restored
