"""Optimises this worker's text indexes when a caller has requested it.

It is not a job of arq: each replica of a shard has an index of its own, so no replica can do it for
the others. As with jobs, requests are compared with what was done, so a request survives a kill of
the worker, of its indexer or of Redis.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import structlog

from hedgerow.common.errors import WorkError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.reconcile import reconcile, wake_at
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.optimising import EVENT, OptimisingStore
from hedgerow.common.tasks import run_together
from hedgerow.shard_worker.indexing.applier import Applier

QUIET_S: Final = 1.0  # while a shard is written to, optimising it would be given up
FIRST_PAUSE_S: Final = 2.0
MOST_PAUSE_S: Final = 300.0

_log = structlog.get_logger()


class Attempts(NamedTuple):
    """The failed attempts to optimise one index since the last successful one.

    Attributes:
        num_failed: how many.
        next_at: when the next may be made, in s of the loop's clock.
    """

    num_failed: int = 0
    next_at: float = 0.0

    def after_failure(self, now: float) -> "Attempts":
        """These and another failure; the pause before the next attempt doubles."""
        pause_s = min(FIRST_PAUSE_S * 2**self.num_failed, MOST_PAUSE_S)
        return Attempts(self.num_failed + 1, now + pause_s)


class Optimiser:
    """Optimises the indexes of this worker's replicas that have to be, one after another."""

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        applier: Applier,
        settings: Settings,
        beat: Callable[[], Awaitable[None]],
        has_disk: Callable[[], bool] = lambda: True,
    ) -> None:
        """Optimise what `applier` writes to.

        Args:
            control: Redis.
            keys: the names of everything in Redis.
            applier: has the indexer do it, between two batches of the log.
            settings: redis.reconnect_max_s applies.
            has_disk: whether the disk has room for another copy of an index.
            beat: sends a heartbeat, and returns when it has been sent.
        """
        self._keys = keys
        self._control = control
        self._applier = applier
        self._beat = beat
        self._has_disk = has_disk
        self._store = OptimisingStore(control, keys)
        self._max_pause_s = settings.redis.reconnect_max_s
        # By replica, since a shard may be let go of and come back as another one, and collection.
        self._attempts: dict[tuple[str, str], Attempts] = {}
        self._done: dict[tuple[str, str], int] = {}  # the last request that was carried out
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Run until cancelled."""
        await run_together(
            reconcile("optimising_waits", self._look, self._woken, self._max_pause_s),
            wake_at(self._control, self._keys.events, EVENT, self._woken),
        )

    async def _look(self) -> None:
        states = dict(self._applier.states)
        uids = {report.uid for state in states.values() for report in state.collections}
        status = await self._store.status(sorted(uids))
        held = {
            (state.replica_id, report.uid)
            for state in states.values()
            for report in state.collections
        }
        for known in (self._attempts, self._done):
            for key in known.keys() - held:
                del known[key]
        wanted_ever = {uid for uid, one in status.items() if one.wanted_at_ms}
        for shard, state in states.items():
            for report in state.collections:
                if report.uid not in wanted_ever:
                    continue
                key, wanted = (state.replica_id, report.uid), status[report.uid]
                if not wanted.is_waiting(state.replica_id):
                    continue
                if self._done.get(key) != wanted.wanted_at_ms and self._may(shard, key):
                    await self._optimise(shard, key, wanted.wanted_at_ms)
                # Also after an earlier call failed to record it, without optimising again.
                if self._done.get(key) == wanted.wanted_at_ms:
                    await self._store.set_done(report.uid, state.replica_id, wanted.wanted_at_ms)

    def _may(self, shard: int, key: tuple[str, str]) -> bool:
        now = asyncio.get_running_loop().time()
        if shard in self._applier.busy or shard in self._applier.withheld:
            return False
        if not self._has_disk():
            return False
        is_quiet = now - self._applier.applied_at.get(shard, -math.inf) >= QUIET_S
        return is_quiet and now >= self._attempts.get(key, Attempts()).next_at

    async def _optimise(self, shard: int, key: tuple[str, str], wanted_at_ms: int) -> None:
        (_, uid), started = key, time.monotonic()
        try:
            has_changed = await self._applier.optimise(shard, uid)
        except WorkError as error:
            now = asyncio.get_running_loop().time()
            attempts = self._attempts.get(key, Attempts()).after_failure(now)
            self._attempts[key] = attempts
            _log.warning(
                "optimising_failed",
                shard=shard,
                uid=uid,
                error=str(error),
                again_in_s=round(attempts.next_at - now),
            )
            return
        self._attempts.pop(key, None)
        if has_changed:
            # A caller that learns that all replicas are done must see the index as it is now.
            await self._beat()
            took_s = round(time.monotonic() - started, 1)
            _log.info("optimised", shard=shard, uid=uid, took_s=took_s)
        self._done[key] = wanted_at_ms
