"""The writer of one collection's text index on one shard."""

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import structlog
import tantivy

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD
from hedgerow.shard_worker.storage.bodies import BodyWriter
from hedgerow.shard_worker.storage.document_maker import (
    DocumentPlan,
    decoded,
    make_document,
)
from hedgerow.shard_worker.storage.id_levels import MARK, marks_of
from hedgerow.shard_worker.storage.index_files import (
    TextIndexError,
    fitting_definition,
    open_index,
    read_about,
    read_fields,
    read_opstamp,
    refusal,
    write_about,
)
from hedgerow.shard_worker.storage.picking import pick_of
from hedgerow.shard_worker.storage.places import place_field
from hedgerow.shard_worker.storage.schema import PADDING, PRESENT, make_index
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.vector_writer import Embed, VectorWriter

_NO_ID = ""  # the id of no document
_REBUILD_COMMIT = 20_000  # documents; bounds the memory of a rebuild

_log = structlog.get_logger()


class TextIndexWriter:
    """The only writer of an index. Changes that are not committed when the process dies are lost.

    Attributes:
        collection: the definition by which documents are indexed.
        is_new: the folder held no usable index (none, a damaged one, or one with other fields), so
            this one starts empty: first `rebuild` it from the store.
    """

    def __init__(
        self,
        path: Path,
        collection: Collection,
        index: tantivy.Index,
        memory_bytes: int,
        embed: Embed | None = None,
    ) -> None:
        self.path = path
        self.collection = collection
        self._plan = DocumentPlan.of(collection)
        self.is_new = False
        self._epoch: int = read_about(path, is_complete=False)["epoch"]
        self._opstamp = read_opstamp(path)
        self._index, self._memory_bytes = index, memory_bytes
        self._open_writer()
        self._has_changes = False
        self._has_failed = False
        # Indexes of earlier versions have no field for places.
        self._place_field = place_field(read_fields(path))
        self._bodies = None if self._place_field is None else BodyWriter(path)
        # Beside the index, documents are without their vectors, which are seldom asked for.
        self._strip = pick_of(None, tuple(collection.vectors))
        try:
            self._vectors = VectorWriter(path, collection, index, embed)
        except TextIndexError:
            self._writer.wait_merging_threads()  # gives the lock back
            raise
        # None if documents get no marks.
        self._boundaries: Sequence[str] | None = _boundaries_of(index)

    def _open_writer(self) -> None:
        self._is_open = self._has_committed = False
        try:
            self._writer = self._index.writer(self._memory_bytes, num_threads=1)
        except ValueError as error:
            raise refusal(self.path, error) from error
        self._is_open = True
        # A process killed during a commit leaves files that the next commit would fail to create,
        # since it numbers its operations from the same start.
        self._writer.garbage_collect_files()
        # tantivy gives a new writer's first operation the number of the last commit. A merge that
        # starts before the next commit (after an earlier one was killed, for example) considers a
        # segment with deletes of that number up to date, and would lose that operation if it were a
        # deletion. This operation deletes nothing, so that real ones get later numbers.
        self._writer.delete_documents_by_term(ID_FIELD, _NO_ID)

    @classmethod
    def open(
        cls,
        path: Path,
        collection: Collection,
        memory_bytes: int = 32_000_000,
        embed: Embed | None = None,
    ) -> Self:
        """Open for writing; replace an index that does not fit the definition by an empty one.

        An index of an earlier definition, with fewer fields, is opened with that one.

        Args:
            path: the index's folder.
            collection: its definition, with fields.
            memory_bytes: how much the writer may use before it flushes a segment.
            embed: makes the vectors of documents that have none; None leaves them without.

        Raises:
            OSError: another writer has the index open, or the operating system refuses to open it
                for now; the files stay as they are.
        """
        try:
            definition = fitting_definition(read_about(path), collection)
            return cls(path, definition, open_index(path, definition), memory_bytes, embed)
        except TextIndexError as error:
            if path.exists():
                _log.warning("text_index_replaced", path=str(path), reason=str(error))
                shutil.rmtree(path)
        path.mkdir(parents=True)
        index = make_index(path, collection)
        write_about(path, collection, is_complete=False)
        writer = cls(path, collection, index, memory_bytes, embed)
        writer.is_new = True
        return writer

    @property
    def body_bytes(self) -> int:
        """Disk space of the files of `bodies`, holes included."""
        return 0 if self._bodies is None else self._bodies.num_bytes

    @property
    def generation(self) -> int:
        """A number that grows with each commit, also when the index is replaced."""
        # Operations are stamped 1, 2, …, far fewer than a million a second. A new index takes the
        # current time in µs for its epoch, and so never repeats a generation.
        return self._epoch + self._opstamp

    def apply(
        self,
        deletes: Iterable[str],
        upserts: Iterable[tuple[str, Mapping[str, Any]]],
        bodies: Mapping[str, bytes | None] = MappingProxyType({}),
    ) -> None:
        """Apply deletions, then documents that replace those of the same id; does not commit.

        Args:
            deletes: ids.
            upserts: id and fields of each document.
            bodies: id → stored JSON of the documents to add to `bodies`; the others are read from
                the store.

        Raises:
            TypeError, ValueError, OverflowError: a document cannot be indexed.
            WorkError: a vector cannot be made of a document; nothing was changed.
            OSError: the writer is dead and accepts no more documents; the disk is full, for
                example.
        """
        upserts = list(upserts)
        vectors = self._vectors.of(upserts)
        for one in deletes:
            self._writer.delete_documents_by_term(ID_FIELD, one)
            self._has_changes = True
        for one, fields in upserts:
            document = self._document(one, fields, bodies.get(one), vectors.get(one))
            self._writer.delete_documents_by_term(ID_FIELD, one)
            try:
                self._writer.add_document(document)
            except ValueError as error:
                # Any later document would fail, too, so this one is not at fault.
                raise OSError(f"{self.path}: {error}") from error
            self._has_changes = True

    def _document(
        self,
        document_id: str,
        fields: Mapping[str, Any],
        body: bytes | None,
        vectors: Mapping[str, bytes] | None,
    ) -> tantivy.Document:
        marks = () if self._boundaries is None else marks_of(document_id, self._boundaries)
        place, field = None, self._place_field
        if body is not None and self._bodies is not None and field is not None:
            at = self._bodies.add(body if self._strip is None else self._strip(body))
            if at is not None:
                place = field.name, field.stored(at)
        if not vectors:
            return make_document(self._plan, document_id, fields, marks, place)
        rows, vector_marks = self._vectors.add(vectors)
        return make_document(self._plan, document_id, fields, (*marks, *vector_marks), place, rows)

    def remove_padding(self) -> None:
        """Delete all padding; does not commit."""
        self._writer.delete_documents_by_term(PRESENT, PADDING)
        self._has_changes = True

    def add_padding(self, words: Mapping[str, tantivy.PreTokenizedString]) -> None:
        """Add a padding document with these words in each field; does not commit."""
        document = tantivy.Document()
        document.add_text(PRESENT, PADDING)
        for name, text in words.items():
            document.add_pre_tokenized_text(name, text)
        self._writer.add_document(document)
        self._has_changes = True

    def commit(self) -> int:
        """Make all changes durable and visible; returns the generation.

        Raises:
            ValueError: they cannot be written; the disk is full, for example.
            OSError: an earlier commit has failed; the index must be opened again.
        """
        if self._has_changes:
            self._commit()
            self._has_changes = False
            if self._bodies is not None:
                self._bodies.remove_outdated()
            self._vectors.remove_outdated()
        self._complete()
        return self.generation

    def _commit(self) -> None:
        if self._bodies is not None:
            self._bodies.sync()  # before the index refers to them
        self._vectors.sync()
        if self._has_failed:
            raise OSError(f"{self.path}: a commit has failed; the index must be opened again")
        # A commit that fails leaves tantivy's writer without the thread that indexes: later commits
        # would succeed, remove what was deleted, and lose what was added.
        self._has_failed = True
        self._opstamp = self._writer.commit()
        self._has_committed = True
        self._has_failed = False

    def renew(self) -> None:
        """Make the next commit begin a new generation, even if there is no other change."""
        self._writer.delete_documents_by_term(ID_FIELD, _NO_ID)
        self._has_changes = True

    def clear(self, boundaries: Sequence[str] = ()) -> None:
        """Delete all documents, padding included; does not commit.

        Args:
            boundaries: the ids, in ascending order, for whose levels documents are marked from now
                on (`id_levels`); without any, documents get no marks.

        Raises:
            OSError: the index cannot be opened for writing again; this writer is closed.
        """
        if self._has_committed:
            # What follows would be numbered from where this writer began. Generations would repeat,
            # and searches, which know later ones, would not find what is written.
            self._writer.rollback()
            self._writer.wait_merging_threads()
            self._open_writer()
        self._writer.delete_all_documents()
        self._writer.delete_documents_by_term(ID_FIELD, _NO_ID)  # as for a new writer
        if self._bodies is not None:
            self._bodies.start_new_file()
        self._vectors.start_new_files()
        self._boundaries = boundaries or None
        self._has_changes = True

    def add(self, documents: Iterable[tuple[str, bytes]], before: TextIndex | None = None) -> int:
        """Add documents of the store that the index does not have; does not commit.

        Args:
            documents: id and JSON of each, as `Store.scan` yields them.
            before: the index that is written again, from `index_before`.

        Returns:
            The number of documents.

        Raises:
            WorkError: a vector cannot be made of a document.
        """
        done = 0
        read = ((one, body, decoded(body)) for one, body in documents)
        for one, body, fields, vectors in self._vectors.along(read, before):
            try:
                document = self._document(one, fields, body, vectors)
            except (TypeError, ValueError, OverflowError):
                # Should not happen: the gateway checks each document against the fields.
                _log.exception("document_not_indexed", path=str(self.path), id=one)
            else:
                self._writer.add_document(document)
            self._has_changes = True
            done += 1
        return done

    def rebuild(
        self, documents: Iterable[tuple[str, bytes]], boundaries: Sequence[str] = ()
    ) -> int:
        """Replace all documents by the store's, and commit.

        Args:
            documents: as for `add`.
            boundaries: as for `clear`.

        Returns:
            The number of documents.
        """
        self.clear(boundaries)
        rest, total = iter(documents), 0
        while done := self.add(islice(rest, _REBUILD_COMMIT)):
            total += done
            self._commit()
        self.commit()
        return total

    def _complete(self) -> None:
        if self.is_new:
            # Later than any commit of the index that this one replaces.
            self._epoch = time.time_ns() // 1000
            write_about(self.path, self.collection, is_complete=True, epoch=self._epoch)
            self.is_new = False

    def close(self) -> None:
        """Wait for running merges, then close; changes that are not committed are lost."""
        if self._is_open:
            if self._has_changes:
                self._writer.rollback()
            self._writer.wait_merging_threads()
        self._close_bodies()

    def abandon(self) -> None:
        """Close at once; running merges and changes that are not committed are lost."""
        if self._is_open:
            self._writer.rollback()  # cancels the merges, so that there is nothing to wait for
            self._writer.wait_merging_threads()
        self._close_bodies()

    def build_graphs(self) -> Iterator[None]:
        """Build the graphs of vectors that were added; each step takes some 50 ms.

        Raises:
            OSError: a graph cannot be written.
        """
        return self._vectors.build_graphs()

    def _close_bodies(self) -> None:
        self._vectors.close()
        if self._bodies is not None:
            self._bodies.close()


def _boundaries_of(index: tantivy.Index) -> list[str] | None:
    marks = [mark for mark, _ in index.searcher().terms_with_prefix(PRESENT, MARK)]
    return sorted(mark.removeprefix(MARK) for mark in marks if mark != MARK) if marks else None
