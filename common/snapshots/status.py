"""The state of the shards' snapshots in Redis, shared by all replicas and gateways.

Which replica makes the next snapshot is decided by comparing this state, never by an event: the
newest snapshot, when one was last requested, which attempt was last begun, and whether that attempt
is still alive (its lease).
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

import structlog

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.snapshots.manifest import Manifest

EVENT = "snapshots"
LEASE_S = 30.0

_log = structlog.get_logger()

_NEWEST, _WANTED, _BEGUN, _FAILED = b"newest", b"wanted_at_ms", b"begun", b"failed"

# Begin an attempt if it is the next one and none is running. Returns whether it was begun.
# A lease that would last longer than a new one is of before the server's clock was set back.
_BEGIN = """
local left = redis.call('PTTL', KEYS[2])
if left > 0 and left <= tonumber(ARGV[3]) then return 0 end
if (redis.call('HGET', KEYS[1], 'begun') or '0') ~= ARGV[1] then return 0 end
redis.call('HINCRBY', KEYS[1], 'begun', 1)
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
"""

# Renew or release a lease, if it is still ours.
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"


class SnapshotFacts(NamedTuple):
    """The newest complete snapshot of a shard.

    Attributes:
        id: its name on the target.
        position: id of the last log entry in it.
        made_at_ms: when it was begun, on the Redis server's clock; later than those before it, even
            if that clock was set back.
        documents: the number of documents in it.
        num_bytes: its size.
    """

    id: str
    position: str
    made_at_ms: int
    documents: int
    num_bytes: int

    @classmethod
    def of(cls, manifest: Manifest) -> "SnapshotFacts":
        """The facts of a manifest."""
        return cls(
            manifest.id,
            manifest.position,
            manifest.made_at_ms,
            manifest.documents,
            manifest.num_bytes,
        )


class SnapshotStatus(NamedTuple):
    """The state of a shard's snapshots.

    Attributes:
        newest: the newest complete one; None if there is none.
        wanted_at_ms: when one was last requested; 0 for never.
        begun: how many attempts were ever begun.
        is_running: whether one is being made.
        error: why the last attempt failed; "" if it did not.
        failed_at_ms: when it failed; 0 if it did not.
        num_kept: entries of the shard's log that every replica has applied, kept for the next one.
    """

    newest: SnapshotFacts | None = None
    wanted_at_ms: int = 0
    begun: int = 0
    is_running: bool = False
    error: str = ""
    failed_at_ms: int = 0
    num_kept: int = 0

    def next_made_at_ms(self, now_ms: int) -> int:
        """When a snapshot that begins now counts as made: `now_ms`, on the Redis server's clock.

        If that clock was set back, the time is later: snapshots sort by it, and the newest must not
        pass for older than those that it replaces.
        """
        return max(now_ms, self._newest_ms + 1, self.wanted_at_ms)

    def next_wanted_at_ms(self, now_ms: int) -> int:
        """When a snapshot that is requested now counts as requested.

        None that was made, requested or begun before is as late.
        """
        return max(now_ms, self._newest_ms + 2, self.wanted_at_ms + 1)

    @property
    def _newest_ms(self) -> int:
        return self.newest.made_at_ms if self.newest else 0


class SnapshotRecords:
    """Reads and writes the state of snapshots.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def now_ms(self) -> int:
        """The Redis server's clock."""
        return await self._control.now_ms()

    async def next_made_at_ms(self, shard: int) -> int:
        """When a snapshot that begins now counts as made (`SnapshotStatus`)."""
        return (await self.status([shard]))[shard].next_made_at_ms(await self.now_ms())

    async def status(self, shards: Iterable[int]) -> dict[int, SnapshotStatus]:
        """The state of these shards' snapshots."""
        asked = list(shards)
        commands: list[Command] = []
        for shard in asked:
            commands += [
                ("HMGET", self._keys.snapshots(shard), _NEWEST, _WANTED, _BEGUN, _FAILED),
                ("PTTL", self._keys.snapshot_lease(shard)),
            ]
        replies = await self._control.pipeline(commands)
        all_kept = await self._control.pipeline_of_shards(
            [(shard, ("HGET", self._keys.trimmed(shard), "kept")) for shard in asked]
        )
        return {
            shard: _status_of(
                *facts, is_running=0 < left_ms <= LEASE_S * 1000, num_kept=int(kept or 0)
            )
            for shard, facts, left_ms, kept in zip(
                asked, replies[::2], replies[1::2], all_kept, strict=True
            )
        }

    async def want(self, shards: Iterable[int]) -> int:
        """Request a snapshot of each of these shards; return when that was, in ms."""
        found, now_ms = await self.status(shards), await self.now_ms()
        wanted_ms = max((one.next_wanted_at_ms(now_ms) for one in found.values()), default=now_ms)
        commands: list[Command] = [
            ("HSET", self._keys.snapshots(shard), _WANTED, wanted_ms) for shard in found
        ]
        commands.append(("PUBLISH", self._keys.events, EVENT))
        await self._control.pipeline(commands)
        return wanted_ms

    async def begin(self, shard: int, begun: int, holder: str) -> bool:
        """Take the lease for the attempt after the first `begun` ones.

        Returns:
            False if another worker has begun it, or one is being made.
        """
        keys = (self._keys.snapshots(shard), self._keys.snapshot_lease(shard))
        lease_ms = int(LEASE_S * 1000)
        # Not sent twice: the second would find the lease of the first, and fail.
        return bool(
            await self._control.execute(
                "EVAL", _BEGIN, 2, *keys, begun, holder, lease_ms, retry=False
            )
        )

    async def renew(self, shard: int, holder: str) -> bool:
        """Renew the lease; return False if it has expired."""
        key = self._keys.snapshot_lease(shard)
        return bool(
            await self._control.execute("EVAL", _RENEW, 1, key, holder, int(LEASE_S * 1000))
        )

    async def release(self, shard: int, holder: str) -> None:
        """Release the lease, if it is still ours."""
        key = self._keys.snapshot_lease(shard)
        await self._control.execute("EVAL", _RELEASE, 1, key, holder)

    async def set_newest(self, shard: int, facts: SnapshotFacts | None) -> None:
        """Record the newest complete snapshot, and clear the last failure."""
        key = self._keys.snapshots(shard)
        newest: Command = ("HSET", key, _NEWEST, json.dumps(facts))
        await self._control.pipeline(
            [
                newest if facts is not None else ("HDEL", key, _NEWEST),
                ("HDEL", key, _FAILED),
                ("PUBLISH", self._keys.events, EVENT),
            ]
        )

    async def fail(self, shard: int, error: str) -> None:
        """Record why an attempt failed."""
        wanted_ms = (await self.status([shard]))[shard].wanted_at_ms
        failed = json.dumps([max(await self.now_ms(), wanted_ms), error])
        await self._control.pipeline(
            [
                ("HSET", self._keys.snapshots(shard), _FAILED, failed),
                ("PUBLISH", self._keys.events, EVENT),
            ]
        )


def _status_of(
    newest: bytes | None,
    wanted: bytes | None,
    begun: bytes | None,
    failed: bytes | None,
    *,
    is_running: bool,
    num_kept: int,
) -> SnapshotStatus:
    try:
        failed_at_ms, error = json.loads(failed) if failed else (0, "")
        return SnapshotStatus(
            SnapshotFacts(*json.loads(newest)) if newest else None,
            int(wanted or 0),
            int(begun or 0),
            is_running,
            error,
            failed_at_ms,
            num_kept,
        )
    except (ValueError, TypeError) as error:
        # It was edited by hand; the next snapshot overwrites it.
        _log.error("snapshot_status_unreadable", reason=str(error))
        return SnapshotStatus(is_running=is_running, num_kept=num_kept)
