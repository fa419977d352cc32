"""Typed reads and writes of the cluster's collections, workers and counts.

They are stored in Redis under the keys of `common.redis.keys`. A change of anything that other
processes keep a copy of is announced on the events channel.
"""

import asyncio
import json
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from hedgerow.common.collection import Collection, with_added_fields
from hedgerow.common.errors import (
    ConfigurationError,
    ConflictError,
    NotFoundError,
    WireError,
    WriteRefusedError,
)
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.redis.client import Command, RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.durability import write
from hedgerow.common.shard_log.log import FIELD
from hedgerow.common.shard_log.operations import Create, Drop, pack_op
from hedgerow.common.state.batched import batched
from hedgerow.common.state.layout import ClusterLayout
from hedgerow.common.state.registry_scripts import CHANGE, FORGET, TOO_MANY
from hedgerow.common.state.split_changes import BUSY, Change, SplitChanges
from hedgerow.common.wire.formats import other_format
from hedgerow.common.wire.heartbeat import Heartbeat

FORMAT = "1"  # of everything that is stored in Redis
SPLIT_FORMAT = "2"  # once the cluster has been split: versions that know no layouts must not join
FORMATS = (FORMAT, SPLIT_FORMAT)
LOG_INTERVAL_S = 60.0
BUSY_PAUSE_S = 0.05  # while another process changes the same collection
MAX_SHARDS = 10_000
_READ_AT_ONCE = 8  # definitions, of up to 0.2 ms each, in one turn of the event loop
_COUNTED_AT_ONCE = 64  # collections

_log = structlog.get_logger()


class Registry:
    """The cluster's collections, workers and counts, over one `RedisClient`.

    Every method raises RedisUnavailableError if there is no answer in time.

    Attributes:
        keys: the names of the keys and channels.
    """

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self._control = control
        self._throttle = Throttle(LOG_INTERVAL_S)
        self._read: dict[bytes, tuple[bytes, Collection]] = {}  # definitions as they were last read
        self._split = SplitChanges(control, keys)
        self.keys = keys

    async def cluster(self, num_shards: int | None = None) -> int:
        """Set or read the number of shards, which only a split changes.

        Args:
            num_shards: the number given to this process: one that the cluster has had, from that
                with which it was created to its present one, since what starts the process may have
                been written between two splits; None to use the cluster's.

        Returns:
            The number of shards of the layout that the keys belong to.

        Raises:
            ConfigurationError: the cluster has another number or another format, or has no number
                yet and none is given.
        """
        key = self.keys.cluster
        await self._check_slots()
        if num_shards is not None:
            if not 1 <= num_shards <= MAX_SHARDS:
                raise ConfigurationError(
                    f"num_shards: {num_shards} is not between 1 and {MAX_SHARDS}"
                )
            # A server that accepts no writes can still be read.
            facts: list[Command] = [("HSETNX", key, "format", FORMAT)]
            if self.keys.num_slots:
                facts.append(("HSETNX", key, "slots", self.keys.num_slots))
            with suppress(WriteRefusedError):
                await self._control.pipeline([*facts, ("HSETNX", key, "shards", num_shards)])
        (shards, stored_format), layout = await self._control.pipeline(
            [("HMGET", key, "shards", "format"), ("GET", self.keys.layout_document)]
        )
        if shards is None:
            raise ConfigurationError(
                f"num_shards: the cluster {self.keys.prefix!r} has no number of shards yet; "
                "name one when its first process starts"
            )
        if (stored_format or b"").decode(errors="replace") not in FORMATS:
            found = (stored_format or b"none").decode(errors="replace")
            raise ConfigurationError(
                other_format(f"the cluster {self.keys.prefix!r}", found, FORMAT)
            )
        present = most = int(shards)
        if layout is not None:
            known = ClusterLayout.from_json(layout)
            present = known.num_shards_of(self.keys.layout)
            most = max(present, known.current.num_shards)
        if num_shards is not None and not _has_had(int(shards), most, num_shards):
            raise ConfigurationError(
                f"num_shards: {num_shards} was named, but the cluster {self.keys.prefix!r} "
                f"{_history(int(shards), present)}, and only gateway split changes that number"
            )
        return present

    async def allow_layouts(self) -> None:
        """Keep versions of Hedgerow that know no layouts from joining the cluster from now on."""
        await self._control.execute("HSET", self.keys.cluster, "format", SPLIT_FORMAT)

    async def _check_slots(self) -> None:
        """Make sure that this process spells the keys of shards as the cluster's others do.

        Raises:
            ConfigurationError: the cluster has another number of slots.
        """
        shards, slots = await self._control.execute("HMGET", self.keys.cluster, "shards", "slots")
        if shards is None or int(slots or 0) == self.keys.num_slots:
            return
        name = f"the cluster {self.keys.prefix!r}"
        if not self.keys.num_slots:
            raise ConfigurationError(
                f"redis.cluster_nodes: none are named, but {name} uses a Redis Cluster"
            )
        if slots is None:
            raise ConfigurationError(
                f"redis.cluster_nodes: {name} was made without a Redis Cluster, which it cannot "
                "change to; use another redis.key_prefix and load the documents there"
            )
        raise ConfigurationError(
            f"redis.cluster_slots: {self.keys.num_slots} was named, but {name} was made with "
            f"{int(slots)}, and that number is fixed"
        )

    async def cursor_key(self) -> bytes:
        """The key with which the cluster's gateways sign cursors; made by the first that asks."""
        new = secrets.token_hex(32)
        # While a server accepts no writes, the key serves this process alone.
        with suppress(WriteRefusedError):
            await self._control.execute("HSETNX", self.keys.cluster, "cursor_key", new)
        stored: bytes | None = await self._control.execute("HGET", self.keys.cluster, "cursor_key")
        return stored or new.encode()

    # Collections

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
            removed.append(self.keys.optimising(new.uid))
        if self._control.is_split:
            change = Change(name, old, definition, op, num_shards, removed)
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

    # Workers

    async def heartbeats(self) -> dict[str, Heartbeat]:
        """Every worker's last heartbeat by its id, stale ones included."""
        stored: dict[bytes, bytes] = await self._control.execute("HGETALL", self.keys.workers)
        heartbeats = {}
        for worker, packed in stored.items():
            try:
                heartbeats[worker.decode(errors="replace")] = Heartbeat.unpack(packed)
            except WireError as error:
                _log.debug("heartbeat_ignored", worker=worker, reason=str(error))
        return heartbeats

    async def live_heartbeats(self, expiry_s: float) -> dict[str, Heartbeat]:
        """Worker id → last heartbeat, of the workers with one within `expiry_s`."""
        heartbeats = await self.heartbeats()
        oldest_ms = await self._control.now_ms() - expiry_s * 1000
        return {
            worker: heartbeat
            for worker, heartbeat in heartbeats.items()
            if heartbeat.beat_at_ms > oldest_ms
        }

    async def beat(self, heartbeat: Heartbeat, *, is_changed: bool = False) -> None:
        """Store a heartbeat; announce a worker's first one, and one that `is_changed`."""
        is_new = await self._control.execute(
            "HSET", self.keys.workers, heartbeat.id, heartbeat.pack()
        )
        if is_new or is_changed:
            await self.announce("workers")

    async def forget_worker(self, worker_id: str, sent: Sequence[Heartbeat] | None = None) -> None:
        """Remove a worker's heartbeat: it drains, or has been gone for a long time.

        Args:
            worker_id: the worker's name.
            sent: remove the heartbeat only if it is one of these: if a worker was started under the
                same name while the earlier one drained, it has stored another. None for any.
        """
        if sent is None:
            await self._control.execute("HDEL", self.keys.workers, worker_id)
        else:
            packed = [heartbeat.pack() for heartbeat in sent]
            await self._control.execute("EVAL", FORGET, 1, self.keys.workers, worker_id, *packed)
        await self.announce("workers")

    # Counts

    async def document_counts(self, uid: str) -> dict[int, int]:
        """Shard → number of documents of one collection; only shards that have ever held one."""
        return (await self.document_counts_of([uid]))[uid]

    async def document_counts_of(self, uids: Iterable[str]) -> dict[str, dict[int, int]]:
        """`document_counts` of several collections, in a round trip for every few of them."""
        counts: dict[str, dict[int, int]] = {}
        for some in batched(uids, _COUNTED_AT_ONCE):
            replies = await self._control.pipeline(
                [("HGETALL", self.keys.documents(uid)) for uid in some]
            )
            for uid, reply in zip(some, replies, strict=True):
                counts[uid] = {int(shard): int(count) for shard, count in reply.items()}
        return counts

    async def set_document_counts(
        self, shard: int, counts: Mapping[str, int], dropped: Iterable[str] = ()
    ) -> None:
        """Store how many documents of each collection a shard has; remove dropped collections."""
        await self._control.pipeline(
            [
                *(("HSET", self.keys.documents(uid), shard, n) for uid, n in counts.items()),
                *(("HDEL", self.keys.documents(uid), shard) for uid in dropped),
            ]
        )

    async def forget_counts(self, shard: int, held: Iterable[str]) -> None:
        """Remove a shard's counts of collections that it does not hold and that do not exist."""
        kept = {*held, *await self.uids()}
        start = self.keys.documents("")
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", start) + "*"
        cursor, found = b"0", set[bytes]()
        while True:
            cursor, some = await self._control.execute(
                "SCAN", cursor, "MATCH", pattern, "COUNT", 1000
            )
            found.update(some)
            if int(cursor) == 0:
                break
        uids = {key.decode(errors="replace").removeprefix(start) for key in found} - kept
        await self.set_document_counts(shard, {}, uids)

    async def backlog(self, shards: Iterable[int]) -> dict[int, int]:
        """Shard → search requests that wait for a worker."""
        asked = list(shards)
        lengths = await self._control.pipeline_of_shards(
            [(shard, ("LLEN", self.keys.search_queue(shard))) for shard in asked]
        )
        return dict(zip(asked, (int(length) for length in lengths), strict=True))

    async def announce(self, event: str) -> None:
        """Announce on the events channel that `workers`, `collections` or the like has changed."""
        await self._control.publish(self.keys.events, event.encode())


def _has_had(created: int, most: int, num_shards: int) -> bool:
    """Whether a cluster that each split has doubled, to `most` shards, has had this number."""
    while created < min(num_shards, most):
        created *= 2
    return created == num_shards


def _history(created: int, present: int) -> str:
    split = f" and split to {present}" if present != created else ""
    return f"was made with {created} shards{split}"


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
