"""The leases of the workers that clone new shards, by which the others know whom to wait for."""

import asyncio
from typing import Final

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.entries import START
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.snapshots.status import SnapshotRecords
from hedgerow.common.state.versioned import hold_lease
from hedgerow.shard_worker.splitting.clone_or_restore import Beginning, Seen, choose

# Longer than any step of a clone takes, and than a clone that is complete takes to be served and a
# snapshot of it to be begun.
LEASE_S: Final = 15.0
RENEW_S: Final = LEASE_S / 5
_ENDED_S: Final = 0.001  # a lease cannot be given back, but it can end soon


class CloneLeases:
    """The leases of one worker, for shards of a split's target.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys, worker: str) -> None:
        """Hold none yet; `keys` are those of the target."""
        self._control = control
        self._keys = keys
        self._worker = worker
        self._log = ShardLog(control, keys)
        self._snapshots = SnapshotRecords(control, keys)
        self._loop = asyncio.get_running_loop()
        self._renew_at: dict[int, float] = {}
        self._waiting_since: dict[int, float] = {}  # shard → since when a snapshot is being made

    async def choose(self, shard: int, *, has_turn: bool) -> Beginning:
        """How this worker's replica begins; if as a clone, this worker has the lease, if it can.

        Args:
            shard: the shard.
            has_turn: whether it may be cloned now.
        """
        # First, so that a snapshot is found that was made before the lease ended.
        has_lease = has_turn and await self._hold(shard)
        status = (await self._snapshots.status([shard]))[shard]
        newest = status.newest
        seen = Seen(
            log_begins_after=START if newest is None else await self._log.trimmed(shard),
            snapshot=None if newest is None else newest.position,
            is_being_made=status.is_running,
            waited_s=self._waited_s(shard, is_waiting=status.is_running),
            has_failed=bool(status.error),
            has_turn=has_turn,
            has_lease=has_lease,
        )
        beginning = choose(seen)
        if has_lease and beginning is not Beginning.CLONE:
            await self.release(shard)
        return beginning

    async def renew(self, shard: int) -> None:
        """The clone of a shard has got on: renew its lease, if this worker has it."""
        if self._loop.time() >= self._renew_at.get(shard, float("inf")):
            await self._hold(shard)

    async def leave(self, shard: int) -> None:
        """The clone is complete: the lease lasts until its snapshot should have been begun."""
        if shard in self._renew_at:
            await self._hold(shard)
            del self._renew_at[shard]

    async def release(self, shard: int) -> None:
        """Let another worker clone a shard."""
        if self._renew_at.pop(shard, None) is not None:
            await hold_lease(self._control, self._lease(shard), self._worker, _ENDED_S)

    async def _hold(self, shard: int) -> bool:
        is_held = await hold_lease(self._control, self._lease(shard), self._worker, LEASE_S)
        if is_held:
            self._renew_at[shard] = self._loop.time() + RENEW_S
        else:
            self._renew_at.pop(shard, None)
        return is_held

    def _waited_s(self, shard: int, *, is_waiting: bool) -> float:
        now = self._loop.time()
        if not is_waiting:
            self._waiting_since.pop(shard, None)
            return 0.0
        return now - self._waiting_since.setdefault(shard, now)

    def _lease(self, shard: int) -> str:
        return self._keys.clone_lease(shard)
