"""A shard's log: the writes that its replicas have yet to apply, in a Redis stream.

Appending is at least once. An append whose answer is lost may have been taken, and whoever sends
it again puts the same writes into the log twice; every operation here replaces or removes by id,
so that a second copy changes nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgpack

from common.control import Command, Control
from common.errors import WireError
from common.keys import Keys

FIELD = b"op"
START = "0-0"  # the position of a replica that has applied nothing
READ_COUNT = 32


class Create(NamedTuple):
    """A collection's definition, new or changed."""

    definition: str


class Drop(NamedTuple):
    """Everything of one collection goes."""

    uid: str


class Upsert(NamedTuple):
    """Documents that replace those of the same id: pairs of id and JSON."""

    uid: str
    documents: list[tuple[str, bytes]]


class Delete(NamedTuple):
    """Documents that go, by id."""

    uid: str
    ids: list[str]


Op = Create | Drop | Upsert | Delete

_CODES: dict[type[Op], str] = {
    Create: "create",
    Drop: "drop",
    Upsert: "upsert",
    Delete: "delete",
}
_TYPES: dict[str, type[Op]] = {code: kind for kind, code in _CODES.items()}
_packb = msgpack.Packer(use_bin_type=True, autoreset=True).pack


class Entry(NamedTuple):
    """One entry of the log: its id ("milliseconds-sequence"), and the packed operation."""

    id: str
    op: bytes


class Appended(NamedTuple):
    """Where an operation went: its entry's id, and how many entries its shard's log holds."""

    id: str
    length: int


def pack_op(op: Op) -> bytes:
    """Pack an operation as it lies in the log."""
    packed: bytes = _packb((_CODES[type(op)], *op))
    return packed


def unpack_op(data: bytes) -> Op:
    """Unpack an operation.

    Raises:
        WireError: it is malformed, or of a kind that this version does not know.
    """
    try:
        code, *parts = msgpack.unpackb(data)
        kind = _TYPES[code]
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise WireError(f"not an operation of the log: {error or type(error).__name__}") from error
    if kind in (Create, Drop) and len(parts) == 1 and type(parts[0]) is str:
        return Create(parts[0]) if kind is Create else Drop(parts[0])
    if len(parts) == 2 and type(parts[0]) is str and type(parts[1]) is list:
        uid, items = parts
        if kind is Delete and all(type(item) is str for item in items):
            return Delete(uid, items)
        if kind is Upsert and all(
            type(item) is list
            and len(item) == 2
            and type(item[0]) is str
            and type(item[1]) is bytes
            for item in items
        ):
            return Upsert(uid, [(item[0], item[1]) for item in items])
    raise WireError(f"the parts of {code!r} are not of the types that the log's format names")


def position(entry_id: str) -> tuple[int, int]:
    """An entry's id as something that can be compared: (milliseconds, sequence)."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


class ShardLog:
    """Appends to, reads and trims the logs of all shards.

    Every method raises RedisUnavailableError when there is no answer in time.
    """

    def __init__(self, control: Control, keys: Keys) -> None:
        self._control = control
        self._keys = keys

    async def append(self, shard: int, op: bytes) -> Appended:
        """Append one packed operation to one shard's log."""
        return (await self.append_many([(shard, op)]))[0]

    async def append_many(self, ops: Sequence[tuple[int, bytes]]) -> list[Appended]:
        """Append packed operations, each to its shard's log, in one round trip.

        Not retried: after RedisUnavailableError any of them may be in the log.
        """
        commands: list[Command] = []
        for shard, op in ops:
            key = self._keys.log(shard)
            commands += [("XADD", key, "*", FIELD, op), ("XLEN", key)]
        replies = await self._control.pipeline(commands, retry=False)
        return [
            Appended(entry_id.decode(), length)
            for entry_id, length in zip(replies[::2], replies[1::2], strict=True)
        ]

    async def length(self, shard: int) -> int:
        """How many entries a shard's log holds."""
        return (await self.lengths([shard]))[shard]

    async def lengths(self, shards: Sequence[int]) -> dict[int, int]:
        """`length` of several shards in one round trip."""
        replies = await self._control.pipeline(
            [("XLEN", self._keys.log(shard)) for shard in shards]
        )
        return dict(zip(shards, replies, strict=True))

    async def read(self, shard: int, after: str, max_bytes: int, block_ms: int = 0) -> list[Entry]:
        """Read what follows a position, oldest first.

        Args:
            shard: whose log.
            after: id of the last entry that is not wanted; `START` to read all.
            max_bytes: stop after the entry that reaches so many bytes of operations.
            block_ms: how long to wait for an entry when there is none, in ms; 0 does not wait.

        Returns:
            The entries; none where none came in time.
        """
        entries: list[Entry] = []
        size, count = 0, READ_COUNT
        while size < max_bytes:
            options = ("BLOCK", block_ms) if block_ms and not entries else ()
            reply = await self._control.execute(
                *("XREAD", "COUNT", count, *options, "STREAMS", self._keys.log(shard), after),
                block_s=block_ms / 1000,
            )
            found = reply[0][1] if reply else []
            for entry_id, fields in found:
                op = fields.get(FIELD, b"")
                entries.append(Entry(entry_id.decode(), op))
                size += len(op)
            if len(found) < count:
                break
            after = entries[-1].id
            # XREAD counts entries, not bytes: ask for as many more as should fit by their mean.
            count = max(1, min(4096, (max_bytes - size) * len(entries) // max(size, 1)))
        return entries

    async def last_ids(self, shards: Sequence[int]) -> dict[int, str]:
        """Shard → id of the newest entry in its log, for the shards whose log is not empty."""
        replies = await self._control.pipeline(
            [("XREVRANGE", self._keys.log(shard), "+", "-", "COUNT", 1) for shard in shards]
        )
        return {
            shard: newest[0][0].decode()
            for shard, newest in zip(shards, replies, strict=True)
            if newest
        }

    async def applied(self, shard: int) -> dict[str, str]:
        """Replica id → id of the last entry that it has applied."""
        return (await self.applied_of([shard]))[shard]

    async def applied_of(self, shards: Sequence[int]) -> dict[int, dict[str, str]]:
        """`applied` of several shards in one round trip."""
        replies = await self._control.pipeline(
            [("HGETALL", self._keys.applied(shard)) for shard in shards]
        )
        return {
            shard: {replica.decode(): entry_id.decode() for replica, entry_id in reply.items()}
            for shard, reply in zip(shards, replies, strict=True)
        }

    async def record_applied(self, shard: int, replica: str, entry_id: str) -> dict[str, str]:
        """Say how far a replica has got, and announce it as `applied:<shard>`.

        Returns:
            What `applied` gives now.
        """
        key = self._keys.applied(shard)
        _, _, reply = await self._control.pipeline(
            [
                ("HSET", key, replica, entry_id),
                ("PUBLISH", self._keys.events, f"applied:{shard}"),
                ("HGETALL", key),
            ]
        )
        return {replica.decode(): applied.decode() for replica, applied in reply.items()}

    async def forget_replica(self, shard: int, replica: str) -> None:
        """Stop waiting for a replica whose disk is gone for good; an operator's decision.

        Until then the log keeps all that the replica has not applied, and loads come to wait. A
        later version can decide this itself, from the time that the replica was last seen.
        """
        await self._control.execute("HDEL", self._keys.applied(shard), replica)

    async def trim_to(self, shard: int, min_applied: str) -> int:
        """Remove the entries up to and including one that every replica has applied.

        Returns:
            How many were removed.
        """
        milliseconds, sequence = position(min_applied)
        removed: int = await self._control.execute(
            "XTRIM", self._keys.log(shard), "MINID", f"{milliseconds}-{sequence + 1}"
        )
        return removed
