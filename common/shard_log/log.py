"""A shard's log: the writes that its replicas have not applied yet, in a Redis stream.

Appending is at least once. If the answer to an append is lost, it may have been executed, and
sending it again puts the same writes into the log twice. Every operation here replaces or removes
by id, so a second copy changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.primary import Primary
from hedgerow.common.shard_log.durability import write_of_shards
from hedgerow.common.shard_log.entries import (
    START,
    Appended,
    Entry,
    RestoredTail,
    is_position,
    position,
    strangers,
)
from hedgerow.common.shard_log.scripts import CONTINUE, IDS, RESTORE, TRIM
from hedgerow.common.shard_log.set_aside_notes import SetAsideNote, SetAsideNotes

FIELD = b"op"
TRACE_FIELD = b"trace"  # beside it, if the write is traced; earlier workers ignore it
READ_COUNT = 32
MAX_ENTRY_BYTES = 64 * 1024  # of documents in one entry, unless a single one is larger
_IDS_COUNT = 200
# Beside the replicas, in `Keys.trimmed`.
FACTS = {"position", "documents", "kept", "kept_to", "sealed", "sealed_by"}

_log = structlog.get_logger()


def _entry(found: tuple[bytes, dict[bytes, bytes]]) -> Entry:
    entry_id, fields = found
    return Entry(entry_id.decode(), fields.get(FIELD, b""), fields.get(TRACE_FIELD, b""))


def _positions(shard: int, stored: dict[bytes, bytes]) -> dict[str, str]:
    """Replica → position, without values that are not positions."""
    found = {}
    for replica, value in stored.items():
        text = value.decode(errors="replace")
        if is_position(text):
            found[replica.decode(errors="replace")] = text
        else:  # the hash was edited by hand; the replica's next batch overwrites it
            _log.error("position_unreadable", shard=shard, replica=replica, value=value)
    return found


def _waiting(length: int, kept: bytes | None) -> int:
    """How many of a log's `length` entries wait to be applied; all replicas applied `kept`."""
    return max(0, length - int(kept or 0))


class ShardLog:
    """Appends to, reads and trims the logs of all shards.

    Every method raises RedisUnavailableError if there is no answer in time.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._data = control.data  # shard → the client of the server that has its log
        self._keys = keys

    @property
    def failovers(self) -> int:
        """Changes whenever what was appended before may be lost, since Redis has failed over.

        If `redis.min_replicas` confirm each write, it never does.
        """
        clients = self._control.data_clients
        if clients[0].settings.min_replicas:
            return 0
        return sum(client.primary.failovers for client in clients)

    def primary(self, shard: int) -> Primary:
        """The server that has a shard's log."""
        return self._data(shard).primary

    @property
    def primaries(self) -> tuple[Primary, ...]:
        """All servers that have logs."""
        return tuple(client.primary for client in self._control.data_clients)

    async def append(self, shard: int, op: bytes) -> Appended:
        """Append one packed operation to one shard's log."""
        return (await self.append_many([(shard, op)]))[0]

    async def append_many(
        self, ops: Sequence[tuple[int, bytes]], trace: bytes | None = None
    ) -> list[Appended]:
        """Append packed operations, each to its shard's log.

        Args:
            ops: shard and operation.
            trace: the packed context that workers trace the write by; None for none.

        When this returns, the operations survive the death of the server; see `write`.
        It does not retry: after RedisUnavailableError, any of them may be in the log.

        Raises:
            WriteRefusedError: the server accepts no writes now.
            UnconfirmedError: `redis.min_replicas` have not confirmed them in time.
        """
        appends: list[tuple[int, Sequence[Command]]] = []
        for shard, op in ops:
            key = self._keys.log(shard)
            fields = (FIELD, op) if trace is None else (FIELD, op, TRACE_FIELD, trace)
            appends.append((shard, [("XADD", key, "*", *fields), *self._length(shard)]))
        replies = await write_of_shards(self._control, self._keys, appends, retry=False)
        return [
            Appended(entry_id.decode(), _waiting(length, kept))
            for entry_id, length, kept in replies
        ]

    async def length(self, shard: int) -> int:
        """How many entries of a shard's log some replica has yet to apply.

        Entries that all have applied, and that stay in the log for a snapshot, do not count.
        """
        return (await self.lengths([shard]))[shard]

    async def lengths(self, shards: Sequence[int]) -> dict[int, int]:
        """`length` of several shards in one round trip."""
        replies = await self._control.pipeline_of_shards(
            [(shard, command) for shard in shards for command in self._length(shard)]
        )
        lengths = map(_waiting, replies[::2], replies[1::2])
        return dict(zip(shards, lengths, strict=True))

    def _length(self, shard: int) -> tuple[Command, Command]:
        return ("XLEN", self._keys.log(shard)), ("HGET", self._keys.trimmed(shard), "kept")

    async def ids(self, shard: int, upto: str) -> list[str]:
        """The ids of a log's entries up to and including a position, oldest first."""
        found: list[str] = []
        after = "-"
        while True:
            some: list[bytes] = await self._data(shard).execute(
                "EVAL", IDS, 1, self._keys.log(shard), after, upto, _IDS_COUNT
            )
            found += [one.decode() for one in some]
            if len(some) < _IDS_COUNT:
                return found
            after = f"({found[-1]}"

    async def read(self, shard: int, after: str, max_bytes: int, block_ms: int = 0) -> list[Entry]:
        """Read the entries after a position, oldest first.

        Args:
            shard: the log's shard.
            after: id of the entry before the first one to read; `START` to read all.
            max_bytes: stop after the entry that reaches this many bytes of operations.
            block_ms: how long to wait if there is no entry, in ms; 0 not to wait.

        Returns:
            The entries; an empty list if none came in time.
        """
        entries: list[Entry] = []
        size, count = 0, READ_COUNT
        while size < max_bytes:
            options = ("BLOCK", block_ms) if block_ms and not entries else ()
            reply = await self._data(shard).execute(
                "XREAD",
                "COUNT",
                count,
                *options,
                "STREAMS",
                self._keys.log(shard),
                after,
                block_s=block_ms / 1000,
            )
            found = reply[0][1] if reply else []
            for entry in map(_entry, found):
                entries.append(entry)
                size += len(entry.op)
            if len(found) < count:
                break
            after = entries[-1].id
            # XREAD counts entries, not bytes: ask for as many as should fit by their mean size.
            count = max(1, min(4096, (max_bytes - size) * len(entries) // max(size, 1)))
        return entries

    async def last_ids(self, shards: Sequence[int]) -> dict[int, str]:
        """Shard → id of the newest entry in its log, for the shards whose log is not empty."""
        replies = await self._control.pipeline_of_shards(
            [
                (shard, ("XREVRANGE", self._keys.log(shard), "+", "-", "COUNT", 1))
                for shard in shards
            ]
        )
        return {
            shard: newest[0][0].decode()
            for shard, newest in zip(shards, replies, strict=True)
            if newest
        }

    async def oldest_after(self, positions: Sequence[tuple[int, str]]) -> list[str | None]:
        """Ids of the oldest entries after some positions, in one round trip.

        Args:
            positions: shards, each with the id of an entry, which need not be in its log any more.

        Returns:
            For each position, the id of the entry that follows; None if there is none.
        """
        replies = await self._control.pipeline_of_shards(
            [
                (shard, ("EVAL", IDS, 1, self._keys.log(shard), f"({after}", "+", 1))
                for shard, after in positions
            ]
        )
        return [ids[0].decode() if ids else None for ids in replies]

    async def applied(self, shard: int) -> dict[str, str]:
        """Replica id → id of the last entry that it has applied."""
        return (await self.applied_of([shard]))[shard]

    async def applied_of(self, shards: Sequence[int]) -> dict[int, dict[str, str]]:
        """`applied` of several shards in one round trip."""
        replies = await self._control.pipeline_of_shards(
            [(shard, ("HGETALL", self._keys.applied(shard))) for shard in shards]
        )
        return {
            shard: _positions(shard, reply) for shard, reply in zip(shards, replies, strict=True)
        }

    async def set_aside_of(self, entries: Mapping[int, Iterable[str]]) -> list[SetAsideNote]:
        """As `SetAsideNotes.of`."""
        return await SetAsideNotes(self._control, self._keys).of(entries)

    async def record_applied(self, shard: int, replica: str, entry_id: str) -> dict[str, str]:
        """Record a replica's position, and announce it as `applied:<shard>`.

        Returns:
            The positions as `applied` returns them.
        """
        key, data = self._keys.applied(shard), self._data(shard)
        announcement: Command = ("PUBLISH", self._keys.events, f"applied:{shard}")
        commands: list[Command] = [("HSET", key, replica, entry_id), ("HGETALL", key)]
        if data is self._control:
            _, reply, _ = await data.pipeline([*commands, announcement])
        else:
            _, reply = await data.pipeline(commands)
            await self._control.execute(*announcement)
        return _positions(shard, reply)

    async def forget_replica(self, shard: int, replica: str) -> None:
        """Stop waiting for a replica that is gone for good, or no longer wanted.

        Until then, the log keeps everything that the replica has not applied, and loads may have to
        wait. If snapshots are made, workers decide this (`shard_worker.indexing.absent_replicas`),
        otherwise an operator.
        """
        await self._data(shard).execute("HDEL", self._keys.applied(shard), replica)

    async def trim_to(
        self,
        shard: int,
        upto: str,
        *,
        has_documents: bool = True,
        kept: tuple[int, str] | None = None,
    ) -> int:
        """Remove the entries up to and including `upto`, which are no longer needed.

        Args:
            shard: the log's shard.
            upto: the last entry to remove.
            has_documents: whether any entry that was ever removed may have held a document.
            kept: how many entries after `upto` every replica has applied, and the last of them;
                None if no snapshots are made, so that none is kept.

        Returns:
            How many were removed.
        """
        milliseconds, sequence = position(upto)
        num_kept, kept_to = kept if kept is not None else ("", "")
        # In one step, so that a replica that misses an entry can see why: XTRIM leaves no trace.
        removed = await self._data(shard).execute(
            "EVAL",
            TRIM,
            2,
            self._keys.trimmed(shard),
            self._keys.log(shard),
            upto,
            f"{milliseconds}-{sequence + 1}",
            int(has_documents),
            num_kept,
            kept_to,
        )
        return int(removed)

    async def gap(self, shard: int, replica: str, applied: str) -> str | None:
        """Find out whether entries were removed before a replica had applied them, and record it.

        Args:
            shard: the log's shard.
            replica: the replica's id.
            applied: its position. Call this after the entries that follow it were read: a gap is
                then before those entries, or there is none.

        Returns:
            The last entry that is missing; None if there is no gap. A recorded gap stays, however
            far the replica gets, until an operator deletes the key to state that the documents
            have been loaded again.
        """
        key = self._keys.trimmed(shard)
        stored: dict[bytes, bytes] = await self._data(shard).execute("HGETALL", key)
        facts = {name.decode(): value.decode() for name, value in stored.items()}
        if replica in facts:
            return facts[replica]
        trimmed = facts.get("position", START)
        # A new store gets the collections in another way, so it can only miss documents.
        needs_it = applied != START or "documents" in facts
        if not needs_it or not is_position(trimmed) or position(trimmed) <= position(applied):
            return None
        await self._data(shard).execute("HSET", key, replica, trimmed)
        return trimmed

    async def trimmed(self, shard: int) -> str:
        """Id of the last entry that was removed from a log; `START` if none was."""
        stored = await self._data(shard).execute("HGET", self._keys.trimmed(shard), "position")
        text = (stored or b"").decode(errors="replace")
        return text if is_position(text) else START

    async def is_known(self, shard: int) -> bool:
        """Whether a replica of a shard has ever recorded a position here."""
        keys = (self._keys.applied(shard), self._keys.trimmed(shard))
        return bool(await self._data(shard).execute("EXISTS", *keys))

    async def has_had(self, shard: int, entry_id: str) -> bool:
        """Whether an entry is in a log, or was when it was trimmed."""
        found, trimmed = await self._data(shard).pipeline(
            [
                ("XRANGE", self._keys.log(shard), entry_id, entry_id, "COUNT", 1),
                ("HGET", self._keys.trimmed(shard), "position"),
            ]
        )
        text = (trimmed or b"").decode(errors="replace")
        return bool(found) or (is_position(text) and position(entry_id) <= position(text))

    async def continue_after(self, shard: int, entry_id: str) -> bool:
        """Make every future entry come after a replica's position.

        If Redis has lost the log, or its clock is behind, it would number new entries below what
        the shard has applied, and they would never be read. A replica that has applied less then
        has a gap, since the lost entries cannot be restored.

        Returns:
            False if future entries come after it anyway.
        """
        keys = (self._keys.log(shard), self._keys.trimmed(shard))
        return bool(await self._data(shard).execute("EVAL", CONTINUE, 2, *keys, entry_id, FIELD))

    async def restore(self, shard: int, applied: str, recent: Sequence[Entry]) -> RestoredTail:
        """Append again what a failover has lost; future entries then come after a position.

        Args:
            shard: the log's shard.
            applied: the replica's position.
            recent: the last entries that it has applied, oldest first.
        """
        tail = await self.put_back(shard, recent)
        if applied != START:
            await self.continue_after(shard, applied)
        if not recent:
            return tail
        key = self._keys.log(shard)
        found = await self._data(shard).execute("XRANGE", key, recent[0].id, applied)
        return tail._replace(strangers=strangers(map(_entry, found), recent))

    async def put_back(self, shard: int, recent: Sequence[Entry]) -> RestoredTail:
        """Append again what a failover has lost, as far as nothing came after it since.

        Args:
            shard: the log's shard.
            recent: entries that it had, oldest first.

        Returns:
            What was done; strangers are those between the first and the last of `recent`.
        """
        keys = (self._keys.log(shard), self._keys.trimmed(shard))
        ops = [part for entry in recent for part in (entry.id, entry.op)]
        num_lost, *numbers = await self._data(shard).execute("EVAL", RESTORE, 2, *keys, FIELD, *ops)
        late: list[Entry] = []
        if recent:
            ends = recent[0].id, recent[-1].id
            found = await self._data(shard).execute("XRANGE", keys[0], *ends)
            late = strangers(map(_entry, found), recent)
        return RestoredTail([recent[number - 1] for number in numbers], num_lost, late)

    async def missed(self, shards: Sequence[int]) -> dict[int, set[str]]:
        """Shard → the replicas with a recorded gap."""
        replies = await self._control.pipeline_of_shards(
            [(shard, ("HKEYS", self._keys.trimmed(shard))) for shard in shards]
        )
        return {
            shard: {name.decode(errors="replace") for name in names} - FACTS
            for shard, names in zip(shards, replies, strict=True)
        }

    async def newest(self, shard: int) -> str:
        """Id of the last entry ever appended to a log, trimmed or not; `START` without a log."""
        key = self._keys.log(shard)
        if not await self._data(shard).execute("EXISTS", key):
            return START
        about: list[Any] = await self._data(shard).execute("XINFO", "STREAM", key)
        newest: bytes = about[about.index(b"last-generated-id") + 1]
        return newest.decode()
