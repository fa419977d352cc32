"""Changes of collections whose definitions and logs are on different servers.

On one server, a script changes a definition and appends to every log in one step. Here it takes
three, none of which can be undone by a process that dies in between:

1. the change is recorded as begun, unless the definition is no longer as it was read;
2. it is appended to every shard's log;
3. the definition is changed, and the record removed.

So as on one server, a definition is never there before all logs have it. A change that was begun is
completed: by the process that began it, or, if that has not done so in time, by any other. Step 2
may then happen twice, which changes nothing, as for every operation of a log.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import msgpack
import structlog

from hedgerow.common.errors import HedgerowError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.durability import write, write_of_shards
from hedgerow.common.shard_log.log import FIELD

BUSY: Final = 2  # another change of the collection has begun, and is not complete
# After this many times the longest that its writes can take, a change counts as left behind.
PATIENCE: Final = 3

_BEGIN = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
local limit = tonumber(ARGV[4])
if ARGV[2] == '' and limit > 0 and redis.call('HLEN', KEYS[1]) >= limit then return -1 end
local begun = redis.call('HGET', KEYS[2], ARGV[1])
if begun and begun ~= ARGV[3] then return 2 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 1
"""

# It may have been completed by another process: that is as good.
_END = """
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
for i = 3, #KEYS do redis.call('DEL', KEYS[i]) end
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
"""

_log = structlog.get_logger()


class Change(NamedTuple):
    """A change of one collection.

    Attributes:
        name: the collection's.
        old: its definition before, as stored; empty if there was none.
        definition: its definition from then on; empty to drop it.
        op: the packed operation for the logs.
        num_shards: how many logs there are.
        removed: keys that are removed with it.
    """

    name: str
    old: bytes
    definition: str
    op: bytes
    num_shards: int
    removed: Sequence[str]


class SplitChanges:
    """Makes changes in three steps, and completes those that others have left behind."""

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def make(self, change: Change, max_collections: int) -> int:
        """Make a change; returns what the script for one server would return, or `BUSY`.

        Raises:
            WriteRefusedError, UnconfirmedError, RedisUnavailableError: it may be made all the same,
                at the latest when others find it left behind.
        """
        record = _pack(change, await self._control.now_ms())
        begun = await self._control.execute(
            "EVAL",
            _BEGIN,
            2,
            self._keys.collections,
            self._keys.changes,
            change.name,
            change.old,
            record,
            max_collections,
        )
        if begun == 1:
            await self._complete(change, record)
        elif begun == BUSY:
            await self.complete_left()
        return int(begun)

    async def complete_left(self) -> None:
        """Complete the changes that were begun long ago; logs what fails."""
        begun: dict[bytes, bytes]
        (seconds, us), begun = await self._control.pipeline(
            [("TIME",), ("HGETALL", self._keys.changes)]
        )
        settings = self._control.data_clients[0].settings
        longest_s = settings.command_timeout_s + settings.min_replicas_timeout_s
        for record in begun.values():
            change, begun_at_ms = _unpack(record)
            since_s = int(seconds) + int(us) / 1e6 - begun_at_ms / 1000
            if since_s < PATIENCE * longest_s:
                continue
            with suppress(HedgerowError):
                await self._complete(change, record)
                _log.warning("change_completed", collection=change.name)

    async def _complete(self, change: Change, record: bytes) -> None:
        appends = [
            (shard, [("XADD", self._keys.log(shard), "*", FIELD, change.op)])
            for shard in range(change.num_shards)
        ]
        await write_of_shards(self._control, self._keys, appends, retry=True)
        keys = (self._keys.collections, self._keys.changes, *change.removed)
        arguments = (change.name, record, change.definition)
        end: Command = ("EVAL", _END, len(keys), *keys, *arguments)
        await write(self._control, self._keys, [end], retry=True)


def _pack(change: Change, now_ms: int) -> bytes:
    # The instant makes it differ from every other record of the same change.
    packed: bytes = msgpack.packb([*change, now_ms, time.monotonic_ns()])
    return packed


def _unpack(record: bytes) -> tuple[Change, int]:
    *members, begun_at_ms, _ = msgpack.unpackb(record)
    return Change(*members), begun_at_ms
