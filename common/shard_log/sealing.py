"""Seals the logs of shards that are split, and copies entries to the logs of the new shards.

A log is sealed by setting its last id to the greatest that there is: the server itself then refuses
every append, so that no write pays for a check. The real last id is kept beside it
(`Keys.trimmed`), and is set again if the split falls back.

The logs of a server are sealed in one step, those of several servers one server after the other.
Each step may be repeated, and a process that comes late with one changes nothing.

An entry keeps its id when it is copied. So the newest id of a new shard's log says how far its
source was copied, and a copy that was interrupted goes on there.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from hedgerow.common.redis.by_server import by_server
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.durability import write, write_of_shards
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.log import FIELD

SEALED_ID: Final = "18446744073709551615-18446744073709551615"

# The keys of these scripts are logs, each followed by the hash of its shard (`Keys.trimmed`); they
# return 1 for each log that they have changed, and 0 for the others.

# A log that was never written to is made first, with an entry that is removed at once. The newest
# version of the layout that has asked for it is kept.
_SEAL: Final = """
local done = {}
for i = 1, #KEYS, 2 do
    local log, facts = KEYS[i], KEYS[i + 1]
    done[#done + 1] = 1 - redis.call('HEXISTS', facts, 'sealed')
    if done[#done] == 1 then
        if redis.call('EXISTS', log) == 0 then
            redis.call('XDEL', log, redis.call('XADD', log, '0-1', ARGV[3], ''))
        end
        local about, newest = redis.call('XINFO', 'STREAM', log), nil
        for j = 1, #about, 2 do
            if about[j] == 'last-generated-id' then newest = about[j + 1] end
        end
        redis.call('HSET', facts, 'sealed', newest)
        redis.call('XSETID', log, ARGV[2])
    end
    if tonumber(redis.call('HGET', facts, 'sealed_by') or 0) < tonumber(ARGV[1]) then
        redis.call('HSET', facts, 'sealed_by', ARGV[1])
    end
end
return done
"""

# Not if a later version of the layout has sealed them.
_UNSEAL: Final = """
local done = {}
for i = 1, #KEYS, 2 do
    local log, facts = KEYS[i], KEYS[i + 1]
    local newest, by = unpack(redis.call('HMGET', facts, 'sealed', 'sealed_by'))
    done[#done + 1] = 0
    if newest and tonumber(by or 0) <= tonumber(ARGV[1]) then
        redis.call('XSETID', log, newest)
        redis.call('HDEL', facts, 'sealed', 'sealed_by')
        done[#done] = 1
    end
end
return done
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

# Begin logs that were never written to as logs whose earlier entries were removed: a replica must
# have what they held. The first entry, which changes nothing, gives a log its position.
_BEGIN: Final = """
local done = {}
for i = 1, #KEYS, 2 do
    done[#done + 1] = 1 - redis.call('EXISTS', KEYS[i])
    if done[#done] == 1 then
        redis.call('XADD', KEYS[i], ARGV[1], ARGV[2], ARGV[3])
        redis.call('HSET', KEYS[i + 1], 'position', ARGV[1], 'documents', 1)
    end
end
return done
"""

_LAST: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then return '0-0' end
local about = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #about, 2 do if about[i] == 'last-generated-id' then return about[i + 1] end end
"""


class Sealing:
    """Seals and copies logs of one layout.

    Every method raises RedisUnavailableError if a server does not answer in time; what concerns
    other servers may have been done then.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def seal(self, shards: Iterable[int], version: int) -> None:
        """Have the servers refuse all appends to these logs; those that are sealed stay so.

        Args:
            shards: the shards.
            version: of the layout that asks for it.
        """
        await self._on_each_server(shards, _SEAL, version, SEALED_ID, FIELD)

    async def unseal(self, shards: Iterable[int], version: int) -> None:
        """Let the servers take appends again, unless a later version had the logs sealed."""
        # Not as a write: a split is also given up where Redis has no room.
        await self._on_each_server(shards, _UNSEAL, version, is_write=False)

    async def copy(self, shard: int, after: str, entries: Sequence[tuple[str, bytes]]) -> bool:
        """Append entries with their ids to a log whose newest id is `after`.

        Returns:
            Whether it was; if not, nothing is appended, or an earlier attempt has done it.
        """
        parts = [part for entry in entries for part in entry]
        is_done = await self._control.data(shard).execute(
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
        return all(await self._on_each_server(shards, _BEGIN, position, FIELD, op))

    async def confirm(self, shards: Iterable[int]) -> None:
        """Make sure, if `redis.min_replicas` is set, that no failover loses what these logs have.

        Raises:
            UnconfirmedError: fewer replicas have confirmed it in time.
        """
        if self._control.data(0).settings.min_replicas:
            reads = [(shard, [("EXISTS", self._keys.log(shard))]) for shard in shards]
            await write_of_shards(self._control, self._keys, reads, retry=True)

    async def last_ids(self, shards: Sequence[int]) -> list[str]:
        """For each shard, the last id of its log, which is not sealed."""
        replies = await self._control.pipeline_of_shards(
            [(shard, ("EVAL", _LAST, 1, self._keys.log(shard))) for shard in shards]
        )
        return [reply.decode() for reply in replies]

    async def trimmed(self, shards: Sequence[int]) -> list[str]:
        """For each shard, up to where its log was trimmed."""
        replies = await self._control.pipeline_of_shards(
            [(shard, ("HGET", self._keys.trimmed(shard), "position")) for shard in shards]
        )
        return [(reply or START.encode()).decode() for reply in replies]

    async def ends(self, shards: Sequence[int]) -> list[str]:
        """For each shard, the id of the newest entry that its log has or had when trimmed.

        Of a log that is sealed, this is not the id that it was sealed with.
        """
        found = await self._control.pipeline_of_shards(
            [
                (shard, ("XREVRANGE", self._keys.log(shard), "+", "-", "COUNT", 1))
                for shard in shards
            ]
        )
        last = [some[0][0].decode() if some else START for some in found]
        pairs = zip(last, await self.trimmed(shards), strict=True)
        return [max(pair, key=position) for pair in pairs]

    async def _on_each_server(
        self,
        shards: Iterable[int],
        script: str,
        *arguments: bytes | str | int,
        is_write: bool = True,
    ) -> list[int]:
        """Run a script on each server, for all of its shards in one step.

        Args:
            shards: the shards.
            script: the script.
            arguments: what it takes beside the keys.
            is_write: whether what it does must be as safe as an acknowledged write, so that no
                failover loses a seal.

        Returns:
            For each shard, whether the script has changed anything.
        """
        keys = self._keys

        async def run(slot: int, some: Sequence[int]) -> list[int]:
            names = [name for shard in some for name in (keys.log(shard), keys.trimmed(shard))]
            command: Command = ("EVAL", script, len(names), *names, *arguments)
            client = self._control.data(some[0])
            if is_write:
                (done,) = await write(client, keys, [command], retry=True, slot=slot)
            else:
                done = await client.execute(*command)
            return list(done)

        return await by_server(list(shards), keys.slot, run)
