"""Typed reads and writes of the collections' definitions."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import structlog

from hedgerow.common.collection import Collection, with_added_fields
from hedgerow.common.errors import ConflictError, NotFoundError, WireError
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.durability import write
from hedgerow.common.shard_log.log import FIELD
from hedgerow.common.shard_log.operations import Create, Drop, pack_op
from hedgerow.common.state.registry_scripts import CHANGE, TOO_MANY
from hedgerow.common.state.split_changes import BUSY, Change, SplitChanges
from hedgerow.common.state.stored_state import StoredState

LOG_INTERVAL_S = 60.0
BUSY_PAUSE_S = 0.05  # while another process changes the same collection
_READ_AT_ONCE = 8  # definitions, of up to 0.2 ms each, in one turn of the event loop

_log = structlog.get_logger()


class StoredCollections(StoredState):
    """The definitions of the collections; each change of one is logged to every shard."""

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        super().__init__(control, keys)
        self._throttle = Throttle(LOG_INTERVAL_S)
        self._read: dict[bytes, tuple[bytes, Collection]] = {}  # definitions as they were last read
        self._split = SplitChanges(control, keys)

    async def collections(self) -> dict[str, Collection]:
        """All collections by name, except those whose definition cannot be read."""
        if self._control.is_split:
            await self._split.complete_left()
        stored: dict[bytes, bytes] = await self._control.execute("HGETALL", self.keys.collections)
        before, read = self._read, {}
        num_new = 0
        for name, raw in stored.items():
            known = before.get(name)
            if known is None or known[0] != raw:
                try:
                    known = raw, Collection.from_json(raw)
                except WireError as error:  # perhaps of a newer version; the others are served
                    if self._throttle.allows(f"definition {name!r}", time.monotonic()):
                        _log.error("definition_unreadable", collection=name, reason=str(error))
                    continue
                num_new += 1
                if num_new % _READ_AT_ONCE == 0:
                    await asyncio.sleep(0)
            read[name] = known
        self._read = read
        return {name.decode(errors="replace"): one for name, (_, one) in read.items()}

    async def uids(self) -> set[str]:
        """The uids of all collections, including those whose definition cannot be read."""
        stored: list[bytes] = await self._control.execute("HVALS", self.keys.collections)
        return {uid for raw in stored if (uid := _uid_of(raw)) is not None}

    async def collection(self, name: str) -> Collection | None:
        """One collection as stored now; None if there is none of that name.

        Raises:
            ConflictError: this version cannot read its definition.
        """
        raw: bytes | None = await self._control.execute("HGET", self.keys.collections, name)
        return None if raw is None else _read(name, raw)

    async def create_collection(
        self, collection: Collection, num_shards: int, max_collections: int = 0
    ) -> Collection:
        """Store a new collection and log it to every shard, unless its name is taken.

        Args:
            collection: the new one.
            num_shards: shards in the cluster.
            max_collections: how many there may be, including the new one; 0 for no limit.

        Returns:
            The collection stored under that name now: `collection`, or an earlier one.

        Raises:
            ConflictError: there are as many collections as allowed.
        """
        while True:
            stored = await self.collection(collection.name)
            # If the answer to an earlier attempt was lost, this may be our own.
            if stored is not None:
                return stored
            done = await self._change(collection.name, b"", collection, num_shards, max_collections)
            if done == TOO_MANY:
                raise ConflictError(
                    f"{max_collections} collections exist, and limits.max_collections allows no "
                    "more; remove one first"
                )

    async def compare_and_set_fields(self, collection: Collection, num_shards: int) -> Collection:
        """Give the stored definition of a collection the fields of this one, unless it has any.

        Returns:
            The collection as stored now; its fields are never None.

        Raises:
            NotFoundError: it was dropped meanwhile.
            ConflictError: this version cannot read it.
        """
        while True:
            raw = await self._raw(collection)
            stored = _read(collection.name, raw)
            if stored.fields is not None:
                return stored
            given = stored.with_fields_of(collection)
            await self._change(collection.name, raw, given, num_shards)

    async def add_fields(
        self, collection: Collection, fields: Mapping[str, Any], num_shards: int
    ) -> Collection:
        """Add fields to a collection, and log that to every shard.

        Args:
            collection: the collection.
            fields: those to add, as `define` takes them; those that it has must be the same.
            num_shards: shards in the cluster.

        Returns:
            The collection as stored now.

        Raises:
            BadRequestError: a field is invalid, or there are too many.
            ConflictError: a field has another type already, or the collection has no fields yet.
            NotFoundError: it was dropped meanwhile.
        """
        while True:
            raw = await self._raw(collection)
            stored = _read(collection.name, raw)
            wider = with_added_fields(stored, fields)
            if wider is stored or await self._change(collection.name, raw, wider, num_shards):
                return wider

    async def drop_collection(self, collection: Collection, num_shards: int) -> None:
        """Remove a collection and log that to every shard; one re-created meanwhile stays.

        Raises:
            NotFoundError: it no longer exists.
        """
        raw = await self._raw(collection)
        while not await self._change(collection.name, raw, Drop(collection.uid), num_shards):
            try:
                raw = await self._raw(collection)
            except NotFoundError:
                return  # by an earlier attempt whose answer was lost

    async def _raw(self, collection: Collection) -> bytes:
        raw: bytes | None = await self._control.execute(
            "HGET", self.keys.collections, collection.name
        )
        if raw is None or _uid_of(raw) != collection.uid:
            raise NotFoundError(f"there is no collection {collection.name!r}")
        return raw

    async def _change(
        self,
        name: str,
        old: bytes,
        new: Collection | Drop,
        num_shards: int,
        max_collections: int = 0,
    ) -> int:
        definition = "" if isinstance(new, Drop) else new.to_json()
        op = pack_op(new if isinstance(new, Drop) else Create(definition))
        removed = []
        if isinstance(new, Drop):
            removed += [self.keys.statistics(new.uid), self.keys.shard_statistics(new.uid)]
            removed += [self.keys.optimising(new.uid), self.keys.summaries(new.uid)]
        if self._control.is_split:
            layout = self.keys.layout
            change = Change(name, old, definition, op, num_shards, removed, layout)
            done = await self._split.make(change, max_collections)
            await self.announce("collections")
            if done == BUSY:
                await asyncio.sleep(BUSY_PAUSE_S)
                return 0
            return done
        logs = (self.keys.log(shard) for shard in range(num_shards))
        keys = [self.keys.collections, *logs, *removed]
        command: Command = ("EVAL", CHANGE, len(keys), *keys)
        arguments = (name, old, definition, FIELD, op, num_shards, max_collections)
        [done] = await write(self._control, self.keys, [(*command, *arguments)], retry=True)
        # Also when nothing was done: an attempt whose answer was lost may have done it.
        await self.announce("collections")
        return int(done)


def _read(name: str, raw: bytes) -> Collection:
    try:
        return Collection.from_json(raw)
    except WireError as error:
        raise ConflictError(f"the collection {name!r} cannot be read: {error}") from error


def _uid_of(definition: bytes) -> str | None:
    """The uid in a definition that may be otherwise unreadable; None if it has none."""
    try:
        uid = json.loads(definition)["uid"]
    except (ValueError, TypeError, LookupError):
        return None
    return uid if isinstance(uid, str) else None
