"""Compares what a shard knows of a collection with another definition of it."""

from pathlib import Path

import structlog

from hedgerow.common.collection import Collection
from hedgerow.common.errors import WireError
from hedgerow.shard_worker.storage.index_files import definition_of
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.vectors.library import HINT, is_installed, note, remove_note

_log = structlog.get_logger()


class Definitions:
    """The definitions of one shard's collections, as its store has them."""

    def __init__(self, folder: Path, shard: int, store: Store) -> None:
        """Read the definitions in `store`; the indexes are in the shard's `folder`."""
        self._folder = folder
        self._shard = shard
        self._store = store
        self._has_noted = False
        remove_note(folder)

    def read(self, uid: str, definition: str) -> Collection | None:
        """A definition, read; None if only a newer version can read it."""
        collection = read_definition(self._shard, uid, definition)
        if collection is not None and collection.vectors and not self._has_noted:
            note(self._folder)
            self._has_noted = True
        return collection

    def current(self, uid: str) -> Collection | None:
        """A collection as the store has it; None if it has none, or none that can be read."""
        definition = self._store.definition(uid)
        return None if definition is None else self.read(uid, definition)

    def is_newer(self, uid: str, definition: str) -> bool:
        """Whether the shard lacks a collection, or fields that it has in this definition."""
        return self._store.definition(uid) is None or self._num_added(uid, definition) > 0

    def is_older(self, uid: str, definition: str) -> bool:
        """Whether the shard has fields of a collection that this definition lacks."""
        return self._num_added(uid, definition) < 0

    def not_indexed(self, collection: Collection) -> list[str]:
        """The fields of a collection that its index lacks."""
        return missing_fields(collection, definition_of(self._folder / collection.uid))

    def _num_added(self, uid: str, definition: str) -> int:
        stored = self._store.definition(uid)
        if stored is None or stored == definition:
            return 0
        return num_added_fields(self.read(uid, stored), self.read(uid, definition))


def read_definition(shard: int, uid: str, definition: str) -> Collection | None:
    """A definition as this version reads it; None for one that it cannot index documents by."""
    try:
        collection = Collection.from_json(definition)
    except WireError as error:
        _log.error("definition_unreadable", shard=shard, uid=uid, reason=str(error))
        return None
    if collection.vectors and not is_installed():
        _log.error("definition_unreadable", shard=shard, uid=uid, reason=HINT)
        return None
    return collection


def num_added_fields(known: Collection | None, other: Collection | None) -> int:
    """How many fields a definition adds to the one that is known; negative if it lacks some.

    0 if neither extends the other.
    """
    if known is None or other is None or not (known.extends(other) or other.extends(known)):
        return 0
    return len(other.fields or {}) - len(known.fields or {})


def missing_fields(collection: Collection, indexed: Collection | None) -> list[str]:
    """The fields of a collection that its index lacks, which was made by an earlier definition."""
    if indexed is None or indexed.fields is None:
        return []
    return [name for name in collection.fields or {} if name not in indexed.fields]
