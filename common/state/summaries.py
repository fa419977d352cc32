"""The shards' summaries in Redis (`common.query.shard_summary`), and whether they are valid.

A gateway that does not ask a shard must be sure that no replica of it lets a document be found that
the shard's summary excludes. A summary is made of one replica, and others may be further. So:

    making       1. the maker stores a claim instead of the summary's stamp
                 2. it reads the newest entry of the shard's log, waits until it has applied that
                    entry, and makes the summary of what it holds then
                 3. it replaces the claim by a stamp, with the summary, if the claim is still there
    writing      every replica removes claim or stamp before it applies a document of the collection
    searching    the gateway reads the stamp after it has received the search; the shard need not be
                 asked only if it is the stamp of the summary that the gateway has

What a replica has applied is either in the log before step 2, and so in the summary; or it comes
later, and the replica has removed the claim or the stamp before it was found. A search that comes
later still sees that. A write that adds nothing that can be found, such as a deletion, leaves the
stamp.

Redis may lose the last writes in a failover, also such a removal. So a stamp names the server that
it was written to (`server_identity`), and counts only there: after a failover, or a restart, all
summaries are made again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys

EXPIRY_S: Final = 7 * 24 * 3600  # so that those of a dropped collection vanish
_STAMP: Final = "stamp:"
_SUMMARY: Final = "summary:"
_CLAIMED: Final = b"claim:"

# Replace a stamp or a claim (or its absence, ""), if it is still the one that is expected.
SWAP: Final = """
local now = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if now == ARGV[3] then return 1 end  -- by an earlier attempt whose answer was lost
if now ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], ARGV[4], ARGV[5]) end
redis.call('EXPIRE', KEYS[1], ARGV[6])
return 1
"""


class Stamped(NamedTuple):
    """A summary, and the stamp by which it is known to be valid."""

    stamp: bytes
    summary: bytes


def stamp_field(shard: int) -> str:
    """The field of the hash that has a shard's stamp, or the claim of one who makes it."""
    return f"{_STAMP}{shard}"


def server_identity(info: Mapping[str, Any]) -> str:
    """What differs after each restart of a server, and after each failover.

    Args:
        info: the sections `server` and `replication` of its INFO.
    """
    return f"{info.get('run_id', '')}{info.get('master_replid', '')}"


def stamp_of(identity: str, token: str) -> str:
    """The stamp of a summary that was stored on a server."""
    return f"{identity}:{token}"


def is_of(stamp: bytes, identity: str) -> bool:
    """Whether a stamp was written to the server with this identity; False for a claim."""
    return bool(identity) and stamp.startswith(f"{identity}:".encode())


def is_claim(stamp: bytes) -> bool:
    """Whether this is the claim of one who makes the summary."""
    return stamp.startswith(_CLAIMED)


class SummaryStore:
    """Stores summaries with their stamps.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def identity(self) -> str:
        """Which server this is."""
        return server_identity(await self._control.execute("INFO", "server", "replication"))

    async def stamps(self, uid: str, shards: Sequence[int]) -> dict[int, bytes]:
        """Shard → its stamp, or a claim; b"" if there is neither."""
        fields = map(stamp_field, shards)
        found = await self._control.execute("HMGET", self._keys.summaries(uid), *fields)
        return {shard: one or b"" for shard, one in zip(shards, found, strict=True)}

    async def claim(self, uid: str, shard: int, before: bytes, token: str) -> bool:
        """Claim the making of a summary; returns whether nothing has changed since `before`.

        Args:
            uid: the collection's.
            shard: the shard.
            before: what its stamp was.
            token: identifies the attempt.
        """
        claim = _CLAIMED + token.encode()
        return await self._swap(uid, shard, before, claim)

    async def put(self, uid: str, shard: int, token: str, stamped: Stamped) -> bool:
        """Replace the claim of a token by a summary; returns whether it was still there."""
        claim = _CLAIMED + token.encode()
        return await self._swap(uid, shard, claim, stamped.stamp, stamped.summary)

    async def retract(self, shard: int, uids: Iterable[str]) -> None:
        """Remove the stamps, or claims, of a shard's summaries of these collections."""
        field = stamp_field(shard)
        commands: list[Command] = [
            ("HDEL", self._keys.summaries(uid), field) for uid in sorted(uids)
        ]
        if commands:
            await self._control.pipeline(commands)

    async def read(self, uid: str, shards: Sequence[int]) -> dict[int, Stamped]:
        """The summaries of shards, for those that have one with a stamp."""
        fields = [field for one in shards for field in (stamp_field(one), f"{_SUMMARY}{one}")]
        found = await self._control.execute("HMGET", self._keys.summaries(uid), *fields)
        return {
            shard: Stamped(stamp, summary)
            for shard, stamp, summary in zip(shards, found[::2], found[1::2], strict=True)
            if stamp and summary and not is_claim(stamp)
        }

    async def _swap(
        self, uid: str, shard: int, before: bytes, after: bytes, summary: bytes | None = None
    ) -> bool:
        about = ("", b"") if summary is None else (f"{_SUMMARY}{shard}", summary)
        done = await self._control.execute(
            "EVAL",
            SWAP,
            1,
            self._keys.summaries(uid),
            stamp_field(shard),
            before,
            after,
            *about,
            EXPIRY_S,
        )
        return bool(done)
