"""Makes a shard of the documents of another one in the same worker, as a split needs it.

    the other shard's store, in one read transaction ► a store with the documents that belong to the
        new shard ► its text indexes, written at once ► the whole folder is put in its place

To index the documents of a store as a whole takes two thirds of the CPU of applying them from a log
in batches, and they need not pass through Redis. The files of the old index are not linked: the
documents of the other half would stay in them, be read by every search and be counted for ranking,
since tantivy's Python interface cannot request a merge; and a merge takes about as long.

All of it happens in a folder aside, which a kill leaves to be removed, and in steps, between which
the indexer carries out other commands. They are taken in a thread to which the system gives the CPU
last, so that searches go first.
"""

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

from hedgerow.common.collection import Collection
from hedgerow.common.snapshots.manifest import STORE
from hedgerow.common.snapshots.restore import data_folder, replace_shard
from hedgerow.shard_worker.indexing.background_thread import BackgroundThread
from hedgerow.shard_worker.indexing.definitions import read_definition
from hedgerow.shard_worker.indexing.index_rewrite import IndexRewrite
from hedgerow.shard_worker.indexing.level_choice import chosen
from hedgerow.shard_worker.storage.index_files import definition_of
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.store_clone import StoreClone
from hedgerow.shard_worker.storage.term_statistics import (
    read_average_lengths,
    statistics_path,
)
from hedgerow.shard_worker.storage.vector_writer import Embed

CLONES: Final = "cloning"  # in a data folder: the folder of what is being made
LOCK_WAIT_S: Final = 10.0


class ShardClone:
    """A shard that is being made.

    Attributes:
        replica_id: of its replica here.
        position: the last entry of the other shard's log that its store had applied.
    """

    def __init__(
        self,
        old: Path,
        data: Path,
        shard: int,
        num_shards: int,
        memory_bytes: int,
        embed: Embed,
        thread: BackgroundThread,
    ) -> None:
        """Fix what the new shard gets; `step` makes it.

        Args:
            old: the other shard's folder.
            data: the data folder in which the new shard is to be.
            shard: the new shard.
            num_shards: over how many shards the documents are to be spread.
            memory_bytes: most memory of a writer of a text index.
            embed: as for `TextIndexWriter.open`.
            thread: takes the steps; it ends with the clone.

        Raises:
            ConfigurationError, sqlite3.Error, OSError: as `StoreClone`.
        """
        self._old = old
        self._data = data
        self._shard = shard
        self._memory_bytes = memory_bytes
        self._embed = embed
        self._thread = thread
        self._folder = data / CLONES / str(shard)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._store = StoreClone(old / STORE, self._folder / STORE, shard, num_shards)
        self.replica_id, self.position = self._store.replica_id, self._store.position
        self._steps = self._make()

    def step(self) -> bool:
        """Take the next step, some 50 ms; returns whether nothing is left to do but `place`.

        Raises:
            WorkError: a vector cannot be made of a document's text.
            sqlite3.Error, OSError, ValueError: something cannot be read or written.
        """
        return self._thread.run(lambda: next(self._steps, self)) is not None

    def place(self) -> None:
        """Put the shard, which must not be open, in its place; whatever was there is removed.

        Raises:
            ConfigurationError: another process has the shard's folder.
            OSError: the files cannot be moved.
        """
        replace_shard(self._data, self._shard, self._folder, LOCK_WAIT_S)
        self.end()

    def end(self) -> None:
        """Give up what is not in its place."""
        self._thread.run(self._steps.close)
        self._thread.end()
        self._store.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _make(self) -> Generator[None]:
        yield from self._store.steps()
        store = Store.open(self._folder / STORE)
        try:
            for uid, definition in store.collections().items():
                yield from self._index(store, uid, definition)
        finally:
            store.close()

    def _index(self, store: Store, uid: str, definition: str) -> Iterator[None]:
        collection = read_definition(self._shard, uid, definition)
        if collection is None or collection.fields is None:
            return  # as in a shard that was given its documents by the log
        rewrite = IndexRewrite(
            self._folder / uid,
            collection,
            store.scan(uid),
            self._memory_bytes,
            chosen(store, uid),
            self._embed,
            self._vectors_of(uid, collection),
            # The old shards' statistics are lent to the new ones: nothing is left to be fitted.
            read_average_lengths(statistics_path(data_folder(self._old), uid)),
        )
        is_done = False
        try:
            while not (is_done := rewrite.step()):
                yield
        finally:
            if not is_done:
                rewrite.give_up()

    def _vectors_of(self, uid: str, collection: Collection) -> Path | None:
        """The folder of the old index, if vectors in it were embedded as the new one's are."""
        folder = self._old / uid
        definition = definition_of(folder)
        return folder if definition is not None and collection.extends(definition) else None
