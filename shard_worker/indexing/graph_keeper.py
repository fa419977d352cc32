"""Has the graphs of this worker's vectors built, and kept up to their rows."""

import asyncio
import math
from collections.abc import Callable
from typing import Final

import structlog

from hedgerow.common.errors import WorkError
from hedgerow.common.redis.reconcile import reconcile
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.optimiser import Attempts
from hedgerow.shard_worker.vectors.policy import Due

QUIET_S: Final = 5.0  # without a write to the shard

_log = structlog.get_logger()


class GraphKeeper:
    """Keeps looking for rows without a graph, and has one built, one index after the other."""

    def __init__(
        self,
        applier: Applier,
        has_disk: Callable[[], bool] = lambda: True,
        max_pause_s: float = 5.0,
    ) -> None:
        """Build graphs for what `applier` writes to.

        Args:
            applier: has the indexer do it, between two batches of the log.
            has_disk: whether the disk has room for another copy of a graph.
            max_pause_s: longest wait after Redis has failed, in s.
        """
        self._applier = applier
        self._has_disk = has_disk
        self._max_pause_s = max_pause_s
        self._attempts: dict[tuple[int, str], Attempts] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        await reconcile("graphs_wait", self._look, asyncio.Event(), self._max_pause_s)

    async def _look(self) -> None:
        due = {
            (shard, report.uid): report.graphs_due
            for shard, state in self._applier.states.items()
            for report in state.collections
            if report.graphs_due
        }
        self._attempts = {key: one for key, one in self._attempts.items() if key in due}
        for (shard, uid), when in due.items():
            is_quiet = self._is_quiet(shard)
            if (is_quiet or when >= Due.NOW) and self._may(shard, uid):
                await self._build(shard, uid, is_quiet=is_quiet)

    def _is_quiet(self, shard: int) -> bool:
        now = asyncio.get_running_loop().time()
        return now - self._applier.applied_at.get(shard, -math.inf) >= QUIET_S

    def _may(self, shard: int, uid: str) -> bool:
        now = asyncio.get_running_loop().time()
        return self._has_disk() and now >= self._attempts.get((shard, uid), Attempts()).next_at

    async def _build(self, shard: int, uid: str, *, is_quiet: bool) -> None:
        key, loop = (shard, uid), asyncio.get_running_loop()
        started = loop.time()
        try:
            await self._applier.build_graphs(shard, uid, is_quiet=is_quiet)
        except WorkError as error:
            attempts = self._attempts.get(key, Attempts()).after_failure(loop.time())
            self._attempts[key] = attempts
            _log.warning("graph_failed", shard=shard, uid=uid, error=str(error))
            return
        self._attempts.pop(key, None)
        _log.info("graph_built", shard=shard, uid=uid, took_s=round(loop.time() - started, 1))
