"""Indexes a collection by a definition with more fields, beside its index, which stays in use.

tantivy fixes the fields of an index when it is made, so fields can only be added by indexing all
documents again. The store has them; it is read in ascending order of ids, some at a time, and what
is written meanwhile goes into both indexes. At the end, the new index takes the place of the other.

A kill loses the new index, and the next indexer begins again.
"""

import shutil
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from hedgerow.common.collection import Collection
from hedgerow.common.errors import WorkError
from hedgerow.shard_worker.indexing.document_writes import write_documents
from hedgerow.shard_worker.storage.index_replacement import filling_folder, replace_index
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from hedgerow.shard_worker.storage.vector_writer import Embed, index_before

STEP_DOCUMENTS: Final = 2000  # some 50 ms; between two steps the indexer runs other commands

_log = structlog.get_logger()


class FieldFilling:
    """One index that is being made.

    Attributes:
        collection: the definition with more fields.
    """

    def __init__(
        self,
        path: Path,
        collection: Collection,
        store: Store,
        memory_bytes: int,
        boundaries: Sequence[str] = (),
        embed: Embed | None = None,
    ) -> None:
        """Begin.

        Args:
            path: the folder of the index that is in use.
            collection: the definition by which the documents are to be indexed.
            store: has the documents.
            memory_bytes: bounds a segment: what does not fit begins another.
            boundaries: of the levels of ids that documents are marked with, in ascending order.
            embed: as for `TextIndexWriter.open`.

        Raises:
            OSError: the new index cannot be made.
        """
        self.collection = collection
        self._path = path
        self._store = store
        self._reached = ""  # the greatest id that was read from the store
        shutil.rmtree(filling_folder(path), ignore_errors=True)
        self._writer = TextIndexWriter.open(filling_folder(path), collection, memory_bytes, embed)
        self._writer.clear(boundaries)
        self._graphs: Iterator[None] | None = None

    def step(self) -> bool:
        """Index the next documents, or build graphs; returns whether nothing is left to do."""
        if self._graphs is None:
            if self._index_next():
                return False
            self._graphs = self._writer.build_graphs()
        return next(self._graphs, self) is not None

    def _index_next(self) -> bool:
        """Index the next documents; returns whether there may be more."""
        scan = self._store.scan(self.collection.uid, STEP_DOCUMENTS, self._reached)
        documents = list(islice(scan, STEP_DOCUMENTS))
        # As it is now: it has the vectors of what was written meanwhile.
        self._writer.add(documents, index_before(self._path, self.collection))
        if documents:
            self._reached = documents[-1][0]
        return len(documents) == STEP_DOCUMENTS

    def apply(self, documents: Mapping[str, bytes | None]) -> None:
        """Apply documents that are being written; those not read yet will be read anyway.

        Args:
            documents: id → JSON, or None to remove the document.
        """
        reached = {one: body for one, body in documents.items() if one <= self._reached}
        write_documents(self._writer, reached, with_bodies=True)

    def finish(self) -> None:
        """Put the new index in the place of the other, which no writer may have open."""
        self._writer.commit()
        self._writer.close()  # with its merges
        replace_index(self._path)

    def give_up(self) -> None:
        """Leave the index in use as it is."""
        with suppress(ValueError, RuntimeError):  # tantivy says that it is closed already
            self._writer.abandon()
        shutil.rmtree(filling_folder(self._path), ignore_errors=True)


class Fillings:
    """The indexes of one shard that are being made."""

    def __init__(
        self,
        folder: Path,
        shard: int,
        store: Store,
        memory_bytes: int,
        embed: Embed | None = None,
    ) -> None:
        """Make indexes of a shard.

        Args:
            folder: the shard's.
            shard: its number.
            store: has the documents.
            memory_bytes: bounds a segment.
            embed: as for `TextIndexWriter.open`.
        """
        self._folder = folder
        self._shard = shard
        self._store = store
        self._memory_bytes = memory_bytes
        self._embed = embed
        self._running: dict[str, FieldFilling] = {}

    def begin(self, collection: Collection, boundaries: Sequence[str]) -> None:
        """Begin to make an index, from the start."""
        uid = collection.uid
        self.stop(uid)
        self._running[uid] = FieldFilling(
            self._folder / uid,
            collection,
            self._store,
            self._memory_bytes,
            boundaries,
            self._embed,
        )

    def step(self, uid: str) -> bool:
        """Index the next documents; returns whether `finish` is to follow.

        Raises:
            WorkError: the collection was dropped, or fields were added; `begin` again.
        """
        filling = self._running.get(uid)
        if filling is None:
            raise WorkError("the collection was dropped, or fields were added meanwhile")
        return filling.step()

    def finish(self, uid: str) -> None:
        """Put an index in the place of the one that is in use."""
        self._running[uid].finish()
        del self._running[uid]

    def apply(self, collection: Collection, documents: Mapping[str, bytes | None]) -> None:
        """Apply documents that are being written to a collection."""
        filling = self._running.get(collection.uid)
        if filling is None:
            return
        if filling.collection.analysis == collection.analysis:
            filling.apply(documents)
        else:  # more fields were added meanwhile
            self.stop(collection.uid)

    def stop(self, uid: str) -> None:
        """Give up an index that is being made, if there is one."""
        if filling := self._running.pop(uid, None):
            _log.info("filling_given_up", shard=self._shard, uid=uid)
            filling.give_up()

    def keep_only(self, uids: Container[str]) -> None:
        """Give up the indexes of all collections but these."""
        for uid in [uid for uid in self._running if uid not in uids]:
            self.stop(uid)

    def folders(self) -> set[str]:
        """The names of the folders in which indexes are being made."""
        return {filling_folder(self._folder / uid).name for uid in self._running}
