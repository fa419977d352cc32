"""Changes of collections whose definitions and logs are on different servers.

On one server, a script changes a definition and appends to every log in one step. Here it takes
three, none of which can be undone by a process that dies in between:

1. the change is recorded as begun, unless the definition is no longer as it was read;
2. it is appended to every shard's log;
3. the definition is changed, and the record removed.

So as on one server, a definition is never there before all logs have it. A change that was begun is
completed: by the process that began it, or, if that has not done so in time, by any other. Step 2
may then happen twice, which changes nothing, as for every operation of a log.

When the shards are split, logs on several servers cannot be sealed at one moment, and a change must
not find some of them sealed. So none begins while the layout takes no writes, which the script of
the first step checks, and those that have begun before are completed before any log is sealed.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import msgpack
import structlog

from hedgerow.common.errors import HedgerowError, SealedError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.durability import write, write_of_shards
from hedgerow.common.shard_log.log import FIELD
from hedgerow.common.state.layout import ClusterLayout

BUSY: Final = 2  # another change of the collection has begun, and is not complete
# After this many times the longest that its writes can take, a change counts as left behind.
PATIENCE: Final = 3

# The version of the layout is read from the start of its JSON, as where it is written
# (`common.state.versioned`).
_BEGIN = """
local begun = redis.call('HGET', KEYS[2], ARGV[1])
if begun == ARGV[3] then return 1 end
local start = redis.call('GETRANGE', KEYS[3], 0, 40)
if (string.match(start, '^{"version":(%d+)') or '0') ~= ARGV[5] then return 0 end
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
local limit = tonumber(ARGV[4])
if ARGV[2] == '' and limit > 0 and redis.call('HLEN', KEYS[1]) >= limit then return -1 end
if begun then return 2 end
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
        layout: the layout whose logs they are.
    """

    name: str
    old: bytes
    definition: str
    op: bytes
    num_shards: int
    removed: Sequence[str]
    layout: int = 0


class SplitChanges:
    """Makes changes in three steps, and completes those that others have left behind."""

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def make(self, change: Change, max_collections: int) -> int:
        """Make a change; returns what the script for one server would return, or `BUSY`.

        Raises:
            SealedError: the layout takes no writes now, or no longer.
            WriteRefusedError, UnconfirmedError, RedisUnavailableError: it may be made all the same,
                at the latest when others find it left behind.
        """
        (seconds, us), stored = await self._control.pipeline(
            [("TIME",), ("GET", self._keys.layout_document)]
        )
        layout = None if stored is None else ClusterLayout.from_json(stored)
        if layout is not None and not layout.takes_writes_of(change.layout):
            raise SealedError
        record = _pack(change, int(seconds) * 1000 + int(us) // 1000)
        begun = await self._control.execute(
            "EVAL",
            _BEGIN,
            3,
            self._keys.collections,
            self._keys.changes,
            self._keys.layout_document,
            change.name,
            change.old,
            record,
            max_collections,
            0 if layout is None else layout.version,
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

    async def complete_all(self) -> None:
        """Complete all changes that have begun, so that logs can be sealed; no other may begin.

        Raises:
            WriteRefusedError, UnconfirmedError, RedisUnavailableError: some may not be complete.
        """
        begun: dict[bytes, bytes] = await self._control.execute("HGETALL", self._keys.changes)
        for record in begun.values():
            await self._complete(_unpack(record)[0], record)

    async def _complete(self, change: Change, record: bytes) -> None:
        of_layout = self._keys.of_layout(change.layout)
        appends = [
            (shard, [("XADD", of_layout.log(shard), "*", FIELD, change.op)])
            for shard in range(change.num_shards)
        ]
        await write_of_shards(self._control, of_layout, appends, retry=True)
        keys = (self._keys.collections, self._keys.changes, *change.removed)
        arguments = (change.name, record, change.definition)
        end: Command = ("EVAL", _END, len(keys), *keys, *arguments)
        await write(self._control, self._keys, [end], retry=True)


def _pack(change: Change, now_ms: int) -> bytes:
    *members, layout = change
    # The other instant makes it differ from every other record of the same change. A version that
    # knows one layout only ignores what is beside it.
    packed: bytes = msgpack.packb([*members, now_ms, [time.monotonic_ns(), layout]])
    return packed


def _unpack(record: bytes) -> tuple[Change, int]:
    *members, begun_at_ms, last = msgpack.unpackb(record)
    layout = last[1] if isinstance(last, list) else 0
    return Change(*members)._replace(layout=layout), begun_at_ms
