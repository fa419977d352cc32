"""Keeps the ends of logs in step with what this worker has applied.

Redis may lose the end of a log, in a failover or since it was restored from a backup. What was
applied here must not be lost with it, and all future writes must come after it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError, WorkError
from hedgerow.common.redis.client import pause_s
from hedgerow.common.redis.primary import Primary
from hedgerow.common.shard_log.entries import START, Entry, position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.tasks import run_together
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.log_tail import HINT, LogTails
from hedgerow.shard_worker.indexing.open_shards import OpenShards
from hedgerow.shard_worker.indexing.shard_report import ShardState

_log = structlog.get_logger()


async def _ignore(_state: ShardState, _ops: list[bytes]) -> None:
    """Do nothing: nothing is to be done about restored operations."""


class LogEnds:
    """Checks the end of a log when its shard is opened, and restores it after each failover."""

    def __init__(
        self,
        log: ShardLog,
        shards: OpenShards,
        indexer: IndexerClient,
        turn: asyncio.Lock,
        on_restored: Callable[[ShardState, list[bytes]], Awaitable[None]] | None,
        max_pause_s: float,
    ) -> None:
        """Watch the ends of the logs of `shards`.

        Args:
            log: the logs; if their servers cannot move, nothing is kept for a failover.
            shards: those of this worker.
            indexer: applies what a restored log has more.
            turn: held while anything is applied.
            on_restored: called after a failover with a shard's state, and the operations that were
                put back into its log.
            max_pause_s: longest pause between two attempts to restore, in s.
        """
        self._log = log
        moves = any(primary.moves for primary in log.primaries)
        self._tails = LogTails(log) if moves else None
        self._shards = shards
        self._indexer = indexer
        self._turn = turn
        self._on_restored = on_restored or _ignore
        self._max_pause_s = max_pause_s

    def add(self, shard: int, entries: Iterable[Entry]) -> None:
        """Entries were applied to a shard; its turn has not ended."""
        if self._tails is not None:
            self._tails.add(shard, entries)

    def forget(self, shard: int) -> None:
        """Forget a shard, which was closed."""
        if self._tails is not None:
            self._tails.forget(shard)

    async def check(self, shard: int, *, is_lost: bool = False) -> None:
        """Have all future writes come after the shard's position, whatever has happened to the log.

        It may have lost its end in a failover, or was restored from a backup, or the server's clock
        is behind. Entries with ids before the position would never be read.

        Args:
            shard: the shard.
            is_lost: whether Redis knows nothing of it. Then it is no news that its log lacks what
                was applied; what it has are definitions that the first shards have brought back.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        applied = self._shards.states[shard].position
        if applied == START:
            return
        newest = await self._log.newest(shard)
        if newest != START and position(newest) < position(applied):
            _log.error("log_behind", shard=shard, position=applied, newest=newest)
        elif (
            position(newest) > position(applied)
            and not is_lost
            and not await self._log.has_had(shard, applied)
        ):
            _log.error("log_end_lost", shard=shard, position=applied, hint=HINT)
        await self._log.continue_after(shard, applied)

    async def run(self) -> None:
        """After each failover, put back into the logs what they have lost, until cancelled.

        Returns at once if there are no failovers.
        """
        if self._tails is None:
            return
        await run_together(*(self._follow(primary, self._tails) for primary in self._log.primaries))

    async def _follow(self, primary: Primary, tails: LogTails) -> None:
        """Do so for the logs of one server."""
        moved = asyncio.Event()
        unfollow = primary.follow(moved.set)
        try:
            while True:
                await moved.wait()
                moved.clear()
                await self._restore_all(primary, tails, moved)
        finally:
            unfollow()

    async def _restore_all(self, primary: Primary, tails: LogTails, moved: asyncio.Event) -> None:
        """Restore the end of each log; if the primary moves again meanwhile, return early."""
        failures = 0
        missing = [shard for shard in self._shards.states if self._log.primary(shard) is primary]
        while missing and not moved.is_set():
            try:
                await self._restore(missing[0], tails)
                del missing[0]
            except (RedisUnavailableError, ConfigurationError, WorkError) as error:
                failures += 1
                _log.debug("log_not_restored", shard=missing[0], error=str(error))
                await primary.pause(pause_s(failures, self._max_pause_s))

    async def _restore(self, shard: int, tails: LogTails) -> None:
        states = self._shards.states
        async with self._turn:  # what is being applied counts, too
            state = states.get(shard)
            if state is None:
                return  # it was closed meanwhile
            tail = await tails.restore(shard, state.position)
            if tail.strangers:  # they are newer than all that was applied
                ops = [entry.op for entry in tail.strangers]
                self._shards.take_again(await self._indexer.apply(shard, None, ops))
        state = states.get(shard)
        if state is None:
            return
        await self._on_restored(state, [entry.op for entry in tail.restored])
        # Positions and counts may be lost as well.
        if shard in states:
            self._shards.followed[shard].announced = None
            await self._log.record_applied(shard, state.replica_id, state.position)
