"""Which documents of a shard's log were set aside, for the answers to those who have written them.

A worker notes a document before it says that it has applied the document's entry: who has seen that
finds the note. The newest `MOST_NOTES` of a shard are kept, for `EXPIRY_S` after the last.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgpack

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.entries import position

MOST_NOTES: Final = 1000
EXPIRY_S: Final = 86_400
MAX_REASON_CHARS: Final = 300


class SetAsideNote(NamedTuple):
    """A document that was set aside by a replica.

    Attributes:
        entry: the entry of the log that it is from.
        id: the document's.
        reason: why it cannot be indexed.
    """

    entry: str
    id: str
    reason: str


class SetAsideNotes:
    """Writes and reads the notes.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        """Keep them where the logs are."""
        self._control = control
        self._keys = keys

    async def add(self, shard: int, note: SetAsideNote) -> None:
        """Note a document; to note it again does no harm."""
        key = self._keys.set_aside(shard)
        member = msgpack.packb(note._replace(reason=note.reason[:MAX_REASON_CHARS]))
        commands: list[Command] = [
            ("ZADD", key, position(note.entry)[0], member),
            ("ZREMRANGEBYRANK", key, 0, -MOST_NOTES - 1),
            ("EXPIRE", key, EXPIRY_S),
        ]
        await self._control.data(shard).pipeline(commands)

    async def of(self, entries: Mapping[int, Iterable[str]]) -> list[SetAsideNote]:
        """The documents of some entries that any replica has set aside, each once.

        Args:
            entries: shard → ids of entries; at least one of each shard.
        """
        wanted = {shard: frozenset(ids) for shard, ids in entries.items()}
        replies = await self._control.pipeline_of_shards(
            [(shard, self._range(shard, ids)) for shard, ids in wanted.items()]
        )
        found: dict[tuple[int, str, str], SetAsideNote] = {}
        for (shard, ids), members in zip(wanted.items(), replies, strict=True):
            for member in members:
                note = SetAsideNote(*msgpack.unpackb(member)[: len(SetAsideNote._fields)])
                if note.entry in ids:
                    found.setdefault((shard, note.entry, note.id), note)
        return list(found.values())

    def _range(self, shard: int, ids: Iterable[str]) -> Command:
        times = [position(one)[0] for one in ids]
        return ("ZRANGEBYSCORE", self._keys.set_aside(shard), min(times), max(times))
