"""Seals the logs of shards that are split, and copies entries to the logs of the new shards.

A log is sealed by setting its last id to the greatest that there is: the server itself then refuses
every append, so that no write pays for a check. The real last id is kept beside it
(`Keys.trimmed`), and is set again if the split falls back.

An entry keeps its id when it is copied. So the newest id of a new shard's log says how far its
source was copied, and a copy that was interrupted goes on there.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.log import FIELD

SEALED_ID: Final = "18446744073709551615-18446744073709551615"

# A log that was never written to is made first, with an entry that is removed at once.
_SEAL: Final = """
if redis.call('HEXISTS', KEYS[2], 'sealed') == 1 then return 0 end
if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('XDEL', KEYS[1], redis.call('XADD', KEYS[1], '0-1', ARGV[2], ''))
end
local about, newest = redis.call('XINFO', 'STREAM', KEYS[1]), nil
for i = 1, #about, 2 do if about[i] == 'last-generated-id' then newest = about[i + 1] end end
redis.call('HSET', KEYS[2], 'sealed', newest)
redis.call('XSETID', KEYS[1], ARGV[1])
return 1
"""

_UNSEAL: Final = """
local newest = redis.call('HGET', KEYS[2], 'sealed')
if not newest then return 0 end
redis.call('XSETID', KEYS[1], newest)
redis.call('HDEL', KEYS[2], 'sealed')
return 1
"""

# Append entries under given ids if the log's newest id is the one that was expected: if another
# process has appended meanwhile, this one must read again how far the log is.
_COPY: Final = """
local newest = '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
    local about = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #about, 2 do if about[i] == 'last-generated-id' then newest = about[i + 1] end end
end
if newest ~= ARGV[1] then return 0 end
for i = 3, #ARGV, 2 do redis.call('XADD', KEYS[1], ARGV[i], ARGV[2], ARGV[i + 1]) end
return 1
"""

# Begin a log that was never written to as one whose earlier entries were removed: a replica must
# have what they held. The first entry, which changes nothing, gives the log its position.
_BEGIN: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('XADD', KEYS[1], ARGV[1], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[2], 'position', ARGV[1], 'documents', 1)
return 1
"""

_LAST: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then return '0-0' end
local about = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #about, 2 do if about[i] == 'last-generated-id' then return about[i + 1] end end
"""


class Sealing:
    """Seals and copies logs of one layout.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def seal(self, shards: Iterable[int]) -> None:
        """Have the server refuse all appends to these logs; those that are sealed stay so."""
        await self._control.pipeline(
            [
                ("EVAL", _SEAL, 2, self._keys.log(one), self._keys.trimmed(one), SEALED_ID, FIELD)
                for one in shards
            ],
            atomic=True,  # a collection is defined in all logs, or in none
        )

    async def unseal(self, shards: Iterable[int]) -> None:
        """Let the server take appends again."""
        await self._control.pipeline(
            [("EVAL", _UNSEAL, 2, self._keys.log(one), self._keys.trimmed(one)) for one in shards],
            atomic=True,
        )

    async def copy(self, shard: int, after: str, entries: Sequence[tuple[str, bytes]]) -> bool:
        """Append entries with their ids to a log whose newest id is `after`.

        Returns:
            Whether it was; if not, nothing is appended, or an earlier attempt has done it.
        """
        parts = [part for entry in entries for part in entry]
        is_done = await self._control.execute(
            "EVAL", _COPY, 1, self._keys.log(shard), after, FIELD, *parts
        )
        return bool(is_done)

    async def begin_after(self, shards: Iterable[int], position: str, op: bytes) -> bool:
        """Begin the logs of shards whose replicas have the documents as of a position already.

        Args:
            shards: the shards, to whose logs nothing was ever appended.
            position: what comes after it is to be appended.
            op: an operation that changes nothing.

        Returns:
            Whether all logs have begun just now.
        """
        keys = self._keys
        replies = await self._control.pipeline(
            [
                ("EVAL", _BEGIN, 2, keys.log(one), keys.trimmed(one), position, FIELD, op)
                for one in shards
            ],
            atomic=True,
        )
        return all(replies)

    async def last_ids(self, shards: Sequence[int]) -> list[str]:
        """For each shard, the last id of its log, which is not sealed."""
        replies = await self._control.pipeline(
            [("EVAL", _LAST, 1, self._keys.log(shard)) for shard in shards]
        )
        return [reply.decode() for reply in replies]

    async def trimmed(self, shards: Sequence[int]) -> list[str]:
        """For each shard, up to where its log was trimmed."""
        replies = await self._control.pipeline(
            [("HGET", self._keys.trimmed(shard), "position") for shard in shards]
        )
        return [(reply or START.encode()).decode() for reply in replies]

    async def ends(self, shards: Sequence[int]) -> list[str]:
        """For each shard, the id of the newest entry that its log has or had when trimmed.

        Of a log that is sealed, this is not the id that it was sealed with.
        """
        found = await self._control.pipeline(
            [("XREVRANGE", self._keys.log(shard), "+", "-", "COUNT", 1) for shard in shards]
        )
        last = [some[0][0].decode() if some else START for some in found]
        pairs = zip(last, await self.trimmed(shards), strict=True)
        return [max(pair, key=position) for pair in pairs]
