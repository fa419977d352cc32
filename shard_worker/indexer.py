"""Applies batches of the log to a shard's store and text indexes, in a process of its own.

The order is what makes a kill at any instruction harmless: first each index commits, then one
SQLite transaction takes the documents and the position. An index that is ahead of its store (killed
between the two) gets the same entries again, and each replaces or removes by id; one that is gone
or of other fields is made anew from the store before anything is applied to it.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import structlog

from common.collection import Collection
from common.errors import WireError
from common.log import Create, Drop, Op, Upsert, position, unpack_op
from shard_worker.ballast import balance
from shard_worker.lanes.budget import Budget
from shard_worker.store import Store
from shard_worker.term_statistics import TermStatistics, collect, merge, pack, unpack, write_table
from shard_worker.text_index import TextIndex, TextIndexError, TextIndexWriter

MAX_FIRST_IDS = 1000
MAX_OPEN_WRITERS = 8  # each holds its memory and threads
DROP_SLICE = 5000  # documents removed in one transaction

_log = structlog.get_logger()


@dataclass(frozen=True)
class IndexerConfig:
    """What an indexer process needs to know.

    Attributes:
        data: the folder of all that is stored.
        shards: the shards that the worker serves.
        memory_bytes: memory of one text index's writer.
    """

    data: str
    shards: tuple[int, ...]
    memory_bytes: int = 32_000_000


class CollectionReport(NamedTuple):
    """What a shard holds of one collection.

    Attributes:
        uid: the collection's.
        definition: as JSON.
        documents: how many the shard holds.
        generation: of the text index; grows with each commit. 0 where there is no index yet.
        changes: how many documents were ever put in, replaced or deleted here.
        first_ids: the smallest ids, ascending, at most `MAX_FIRST_IDS`.
    """

    uid: str
    definition: str
    documents: int
    generation: int
    changes: int
    first_ids: list[str]


class ShardState(NamedTuple):
    """What a shard holds after a batch.

    Attributes:
        shard: its number.
        replica_id: of this copy of it.
        position: id of the last log entry that is applied.
        collections: one report each.
    """

    shard: int
    replica_id: str
    position: str
    collections: list[CollectionReport]

    def pack(self) -> bytes:
        """Pack for the way from the indexer to the worker."""
        packed: bytes = msgpack.packb(self)
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> "ShardState":
        """Read what `pack` made."""
        shard, replica_id, applied, collections = msgpack.unpackb(data)
        return cls(shard, replica_id, applied, [CollectionReport(*one) for one in collections])


@dataclass
class Changes:
    """What a batch of operations comes to: of each thing, how it is after the last of them.

    Attributes:
        definitions: uid → definition (JSON), new or changed.
        documents: uid → id → JSON, or None where the document goes.
        dropped: uids of collections that go.
    """

    definitions: dict[str, str] = field(default_factory=dict)
    documents: dict[str, dict[str, bytes | None]] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, ops: Iterable[Op]) -> "Changes":
        """Fold operations, oldest first. What follows a drop of its collection has no effect."""
        changes = cls()
        for op in ops:
            changes._add(op)
        return changes

    def _add(self, op: Op) -> None:
        if isinstance(op, Drop):
            self.dropped.add(op.uid)
            self.definitions.pop(op.uid, None)
            self.documents.pop(op.uid, None)
        elif isinstance(op, Create):
            uid = Collection.from_json(op.definition).uid
            if uid not in self.dropped:
                self.definitions[uid] = op.definition
        elif op.uid not in self.dropped:
            documents = self.documents.setdefault(op.uid, {})
            if isinstance(op, Upsert):
                documents.update(op.documents)
            else:
                documents.update(dict.fromkeys(op.ids))


class ShardIndexer:
    """One shard's store and text indexes, opened for writing."""

    def __init__(self, folder: Path, shard: int, memory_bytes: int) -> None:
        self.shard = shard
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._store = Store.open(folder / "store.sqlite")
        self._writers: dict[str, TextIndexWriter] = {}  # the last used is last
        self._reports: dict[str, CollectionReport] = {}
        self._remove_orphans()

    def close(self) -> None:
        """Close everything; waits for merges."""
        while self._writers:
            self._writers.pop(next(iter(self._writers))).close()
        self._store.close()

    def state(self) -> ShardState:
        """What the shard holds now."""
        definitions = self._store.collections()
        for uid, definition in definitions.items():
            if uid not in self._reports:
                self._reports[uid] = self._report(uid, definition)
        return ShardState(
            self.shard,
            self._store.replica_id,
            self._store.position,
            [self._reports[uid] for uid in definitions],
        )

    def apply(self, last_entry_id: str, ops: Iterable[bytes]) -> ShardState:
        """Apply the operations of log entries up to and including `last_entry_id`."""
        if position(last_entry_id) <= position(self._store.position):
            return self.state()  # this very batch was applied by an attempt whose answer was lost
        changes = Changes.of(self._read(ops))
        definitions = {**self._store.collections(), **changes.definitions}
        for uid in changes.dropped & definitions.keys():
            self._empty(uid)
        # A document whose collection has been dropped in an earlier batch goes nowhere.
        documents = {uid: some for uid, some in changes.documents.items() if uid in definitions}
        for uid in {**changes.definitions, **documents}:
            self._index(Collection.from_json(definitions[uid]), documents.get(uid, {}))
        self._store.apply(
            last_entry_id,
            definitions=changes.definitions,
            documents=documents,
            dropped=changes.dropped,
        )
        for uid in {**changes.definitions, **documents, **dict.fromkeys(changes.dropped)}:
            self._reports.pop(uid, None)
        if changes.dropped:
            self._remove_orphans()
        return self.state()

    def balance(self, uid: str, averages: Mapping[str, float]) -> ShardState:
        """Bring a collection's index to the average lengths of all shards together."""
        definition = self._store.definition(uid)
        if definition is not None:
            balance(self._writer(Collection.from_json(definition)), averages)
            self._reports.pop(uid, None)
        return self.state()

    def statistics(self, uid: str) -> bytes:
        """This shard's term statistics of a collection, packed; b"" where there is no index."""
        try:
            index = TextIndex.open(self._folder / uid)
        except TextIndexError:
            return b""
        return pack(collect(index))

    def _read(self, ops: Iterable[bytes]) -> Iterator[Op]:
        for op in ops:
            try:
                yield unpack_op(op)
            except WireError as error:
                # Nothing that a gateway writes; one foreign entry must not hold up all others.
                _log.error("log_entry_skipped", shard=self.shard, reason=str(error))

    def _index(self, collection: Collection, documents: dict[str, bytes | None]) -> None:
        if collection.fields is None:
            return  # nothing is accepted for it before its fields are known
        writer = self._writer(collection)
        deletes = [one for one, body in documents.items() if body is None]
        upserts = [(one, json.loads(body)) for one, body in documents.items() if body is not None]
        try:
            writer.apply(deletes, upserts)
        except (TypeError, ValueError, OverflowError):
            # The gateway has checked each against the fields, so this should not be. The others go
            # in all the same: applying them a second time replaces them.
            for upsert in upserts:
                try:
                    writer.apply((), (upsert,))
                except (TypeError, ValueError, OverflowError):
                    _log.exception("document_not_indexed", shard=self.shard, id=upsert[0])
        writer.commit()

    def _writer(self, collection: Collection) -> TextIndexWriter:
        uid = collection.uid
        writer = self._writers.pop(uid, None)
        if writer is not None and _analysis(writer.collection) != _analysis(collection):
            writer.close()
            writer = None
        if writer is None:
            while len(self._writers) >= MAX_OPEN_WRITERS:
                self._writers.pop(next(iter(self._writers))).close()
            writer = TextIndexWriter.open(self._folder / uid, collection, self._memory_bytes)
        self._writers[uid] = writer
        if writer.is_new:
            num_documents = writer.rebuild(self._store.scan(uid))
            if num_documents:
                _log.info("text_index_rebuilt", shard=self.shard, uid=uid, documents=num_documents)
        return writer

    def _report(self, uid: str, definition: str) -> CollectionReport:
        collection = Collection.from_json(definition)
        generation = 0
        if collection.fields is not None:
            try:
                generation = TextIndex.open(self._folder / uid).generation
            except TextIndexError:
                generation = self._writer(collection).generation
        return CollectionReport(
            uid,
            definition,
            self._store.count(uid),
            generation,
            self._store.changes(uid),
            self._store.first_ids(uid, MAX_FIRST_IDS),
        )

    def _empty(self, uid: str) -> None:
        """Remove a collection's documents in slices, so that no transaction grows without bound.

        The position stays where it was: killed half-way, the drop is applied again.
        """
        documents = (one for one, _ in self._store.scan(uid))
        while ids := list(islice(documents, DROP_SLICE)):
            self._store.apply(self._store.position, documents={uid: dict.fromkeys(ids)})

    def _remove_orphans(self) -> None:
        """Remove the indexes of collections that the store does not have (any more)."""
        kept = self._store.collections()
        for uid in [uid for uid in self._writers if uid not in kept]:
            self._writers.pop(uid).close()
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)


def _analysis(collection: Collection) -> object:
    return collection.fields, collection.language


class Indexer:
    """The handler that runs in an indexer process; opens its shards as they are first named."""

    def __init__(self, config: IndexerConfig) -> None:
        self._data = Path(config.data)
        self._memory_bytes = config.memory_bytes
        self._shards: dict[int, ShardIndexer] = {}

    def __call__(self, payload: bytes, _budget: Budget) -> bytes:
        """Do what a packed array says.

        `["open", shard]` and `["apply", shard, last_entry_id, [op, …]]` return a packed
        `ShardState`; `["statistics", shard, uid]` returns packed statistics, or b"" for none;
        `["sum", [statistics, …]]` returns their sum, packed; `["table", uid, statistics]` writes
        the scorers' table (b"": removes it) and returns b""; `["balance", shard, uid]` fits a
        shard's index to that table and returns a packed `ShardState`.
        """
        what, *rest = msgpack.unpackb(payload)
        return _ACTIONS[what](self, *rest)

    def open(self, shard: int) -> bytes:
        """Open a shard and say what it holds."""
        return self._shard(shard).state().pack()

    def apply(self, shard: int, last_entry_id: str, ops: list[bytes]) -> bytes:
        """Apply a batch of the log."""
        indexer = self._shard(shard)
        try:
            return indexer.apply(last_entry_id, ops).pack()
        except Exception:
            # Half-way (a full disk, say) neither writer nor store can be trusted: open them anew.
            del self._shards[shard]
            with suppress(Exception):
                indexer.close()
            raise

    def statistics(self, shard: int, uid: str) -> bytes:
        """Collect one shard's term statistics."""
        return self._shard(shard).statistics(uid)

    def sum(self, parts: list[bytes]) -> bytes:
        """Add up the statistics of shards."""
        return pack(merge(unpack(part) for part in parts))

    def table(self, uid: str, statistics: bytes) -> bytes:
        """Write the sum of all shards' statistics where the scorers look for it."""
        path = self._table(uid)
        if statistics:
            write_table(path, unpack(statistics))
        else:
            path.unlink(missing_ok=True)
        return b""

    def balance(self, shard: int, uid: str) -> bytes:
        """Fit a shard's index to the table."""
        indexer = self._shard(shard)
        try:
            table = TermStatistics.open(self._table(uid))
        except OSError:
            return indexer.state().pack()
        try:
            return indexer.balance(uid, table.average_lengths).pack()
        finally:
            table.close()

    def close(self) -> None:
        """Close every shard."""
        for shard in self._shards.values():
            shard.close()

    def _table(self, uid: str) -> Path:
        return self._data / "statistics" / f"{uid}.sqlite"

    def _shard(self, shard: int) -> ShardIndexer:
        if shard not in self._shards:
            folder = self._data / "shards" / str(shard)
            self._shards[shard] = ShardIndexer(folder, shard, self._memory_bytes)
        return self._shards[shard]


_ACTIONS: dict[str, Callable[..., bytes]] = {
    "open": Indexer.open,
    "apply": Indexer.apply,
    "statistics": Indexer.statistics,
    "sum": Indexer.sum,
    "table": Indexer.table,
    "balance": Indexer.balance,
}


def make_indexer(config: IndexerConfig) -> Indexer:
    """The factory that an indexer lane names."""
    return Indexer(config)


def pack_work(*parts: Any) -> bytes:
    """A payload for `Indexer`."""
    packed: bytes = msgpack.packb(parts)
    return packed
