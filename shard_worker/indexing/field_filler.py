"""Fills the fields that were added to collections, in the indexes of this worker's shards."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from hedgerow.common.errors import WorkError
from hedgerow.common.redis.reconcile import reconcile
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.optimiser import Attempts

_log = structlog.get_logger()


class FieldFiller:
    """Keeps looking for indexes that lack fields, and has them replaced, one after the other.

    What to do follows from what the shards hold, so a restart loses nothing.
    """

    def __init__(
        self,
        applier: Applier,
        tell: Callable[[], Awaitable[None]],
        has_disk: Callable[[], bool] = lambda: True,
        max_pause_s: float = 5.0,
    ) -> None:
        """Fill what `applier` writes to.

        Args:
            applier: has the indexer do it, between two batches of the log.
            tell: sends a heartbeat, which says that an index has changed; returns when it was sent.
            has_disk: whether the disk has room for another copy of an index.
            max_pause_s: longest wait after Redis has failed, in s.
        """
        self._applier = applier
        self._tell = tell
        self._has_disk = has_disk
        self._max_pause_s = max_pause_s
        self._attempts: dict[tuple[int, str], Attempts] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        await reconcile("filling_waits", self._look, asyncio.Event(), self._max_pause_s)

    async def _look(self) -> None:
        lacking = {
            (shard, report.uid): report.missing
            for shard, state in self._applier.states.items()
            for report in state.collections
            if report.missing
        }
        self._attempts = {key: one for key, one in self._attempts.items() if key in lacking}
        for (shard, uid), missing in lacking.items():
            if self._may(shard, uid):
                await self._fill(shard, uid, missing)

    def _may(self, shard: int, uid: str) -> bool:
        now = asyncio.get_running_loop().time()
        is_fit = shard not in self._applier.withheld and self._has_disk()
        return is_fit and now >= self._attempts.get((shard, uid), Attempts()).next_at

    async def _fill(self, shard: int, uid: str, fields: object) -> None:
        key, started = (shard, uid), time.monotonic()
        try:
            await self._applier.fill(shard, uid)
        except WorkError as error:
            now = asyncio.get_running_loop().time()
            attempts = self._attempts.get(key, Attempts()).after_failure(now)
            self._attempts[key] = attempts
            _log.warning(
                "filling_failed",
                shard=shard,
                uid=uid,
                error=str(error),
                again_in_s=round(attempts.next_at - now),
            )
            return
        await self._tell()
        took_s = round(time.monotonic() - started, 1)
        _log.info("fields_filled", shard=shard, uid=uid, fields=fields, took_s=took_s)
