"""One collection's text index on one shard: a tantivy index, and the definition it was made by."""

import json
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import structlog
import tantivy

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.errors import WireError
from hedgerow.common.machine.disk import disk_failure
from hedgerow.shard_worker.storage.bodies import BodyWriter
from hedgerow.shard_worker.storage.id_levels import MARK, Level, marks_of
from hedgerow.shard_worker.storage.index_replacement import await_replacement
from hedgerow.shard_worker.storage.read_only_index import linked
from hedgerow.shard_worker.storage.schema import (
    ANALYSER,
    EVERY,
    PADDING,
    PLACE,
    PRESENT,
    make_analyser,
    make_document,
    make_index,
)

FORMAT = 1
_ABOUT = "hedgerow.json"
_ABSENT = (FileNotFoundError, NotADirectoryError)
_NO_ID = ""  # the id of no document
_REBUILD_COMMIT = 20_000  # documents; bounds the memory of a rebuild

_log = structlog.get_logger()


class TextIndexError(Exception):
    """The folder holds no index that this version can read; it has to be rebuilt."""


class TextIndex:
    """A snapshot of an index, for reading; opening one takes about 0.4 ms.

    Attributes:
        path: the index's folder.
        collection: the definition that the index was made with.
        definition: the same as JSON.
        schema: tantivy's schema.
        searcher: tantivy's view of the snapshot.
        generation: of the commit that it shows; see `TextIndexWriter.generation`.
    """

    def __init__(self, path: Path) -> None:
        about = _read_about(path)
        self.path = path
        self.definition = str(about["collection"])
        self.collection = _collection_of(about)
        # Read before the snapshot is taken, so that it may be too old, but never too new.
        self.generation = int(about["epoch"]) + _read_opstamp(path)
        self._has_places = PLACE in _read_fields(path)
        self._index = _open_for_reading(path, self.collection)
        self.schema = self._index.schema
        self.searcher = self._index.searcher()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open for reading.

        Raises:
            TextIndexError: there is no index, it is damaged, or it is being rebuilt.
            OSError: the operating system refuses to read it for now.
        """
        try:
            return cls(path)
        except TextIndexError:
            # It may have been replaced between the reading of two of its files.
            if not await_replacement(path) and not path.is_dir():
                raise
        return cls(path)

    @cached_property
    def max_doc(self) -> int:
        """Documents as BM25 counts: with padding, and deleted ones until a merge drops them."""
        return self.num_counted + self.searcher.doc_freq(PRESENT, PADDING)

    @cached_property
    def num_counted(self) -> int:
        """The same without padding."""
        return self.searcher.doc_freq(PRESENT, EVERY)

    @property
    def num_segments(self) -> int:
        """Segments, which a search reads one after the other; a commit adds at most one."""
        return self.searcher.num_segments

    @cached_property
    def num_documents(self) -> int:
        """Documents that can be found."""
        return self.searcher.num_docs - self.num_padding

    @cached_property
    def num_padding(self) -> int:
        """Padding documents (`length_padding`) that are not deleted."""
        query = tantivy.Query.term_query(self.schema, PRESENT, PADDING)
        return count_of(self.searcher.search(query, 1))

    @cached_property
    def levels(self) -> list[Level]:
        """The levels of ids, the lowest first; empty if any document lacks its marks."""
        counts = dict(self.searcher.terms_with_prefix(PRESENT, MARK))
        if counts.pop(MARK, 0) != self.num_counted:
            return []
        return [Level(count, mark) for mark, count in sorted(counts.items(), key=itemgetter(1))]

    def document_frequency(self, field: str, term: str) -> int:
        """The number of documents in which a term occurs, deleted ones included, as BM25 counts."""
        return self.searcher.doc_freq(field, term)

    def parse_native(self, query: str) -> tantivy.Query:
        """Parse tantivy's query language, for queries that its Python interface cannot build.

        Raises:
            ValueError: it does not parse.
        """
        # In the strict grammar, bounds of ranges cannot be escaped.
        parsed, errors = self._index.parse_query_lenient(query, [ID_FIELD])
        if errors:
            raise ValueError(f"{query}: {errors[0]}")
        return parsed

    def average_length(self, name: str, terms: Iterable[str]) -> float:
        """The average number of words of a text field, as tantivy's BM25 uses it.

        tantivy shows it only in the explanation of a score.

        Args:
            name: the field.
            terms: candidates for the term whose score is explained; the first that occurs is used.

        Returns:
            The average; 0 if none of the terms occurs.
        """
        for term in terms:
            query = tantivy.Query.term_query(self.schema, name, term)
            hits = self.searcher.search(query, 1, count=False).hits
            if hits:
                return _find_average(json.loads(query.explain(self.searcher, hits[0][1]).to_json()))
        return 0.0

    def total_words(self, name: str) -> int:
        """Words of a text field in all documents that BM25 counts, padding included."""
        terms = self.searcher.terms_with_prefix(name, "", None, 1)
        return round(self.average_length(name, [term for term, _ in terms]) * self.max_doc)

    def ids(self, addresses: Sequence[tantivy.DocAddress]) -> list[str]:
        """The ids of found documents; 1.2 µs each, since only the id is stored."""
        document = self.searcher.doc
        return [document(address).get_first(ID_FIELD) for address in addresses]  # type: ignore[misc]  # the field is in every document

    def places(self, addresses: Sequence[tantivy.DocAddress]) -> Sequence[int | None]:
        """The places of found documents in `bodies`; None for a document that is not there.

        Takes 5 µs, and 0.1 µs for each document.
        """
        if not self._has_places:
            return [None] * len(addresses)
        return self.searcher.fast_field_values(PLACE, list(addresses))  # type: ignore[return-value]  # the field holds nothing but integers


def count_of(result: tantivy.SearchResult) -> int:
    """How many documents a search matched."""
    return int(result.count)  # type: ignore[attr-defined]  # the stubs lack it


class TextIndexWriter:
    """The only writer of an index. Changes that are not committed when the process dies are lost.

    Attributes:
        collection: the definition by which documents are indexed.
        is_new: the folder held no usable index (none, a damaged one, or one with other fields), so
            this one starts empty: first `rebuild` it from the store.
    """

    def __init__(
        self, path: Path, collection: Collection, index: tantivy.Index, memory_bytes: int
    ) -> None:
        self.path = path
        self.collection = collection
        self.is_new = False
        self._epoch: int = _read_about(path, is_complete=False)["epoch"]
        self._opstamp = _read_opstamp(path)
        try:
            self._writer = index.writer(memory_bytes, num_threads=1)
        except ValueError as error:
            raise _refusal(path, error) from error
        # A process killed during a commit leaves files that the next commit would fail to create,
        # since it numbers its operations from the same start.
        self._writer.garbage_collect_files()
        # tantivy gives a new writer's first operation the number of the last commit. A merge that
        # starts before the next commit (after an earlier one was killed, for example) considers a
        # segment with deletes of that number up to date, and would lose that operation if it were a
        # deletion. This operation deletes nothing, so that real ones get later numbers.
        self._writer.delete_documents_by_term(ID_FIELD, _NO_ID)
        self._has_changes = False
        # Indexes of earlier versions have no field for places.
        self._bodies = BodyWriter(path) if PLACE in _read_fields(path) else None
        # None if documents get no marks.
        self._boundaries: Sequence[str] | None = _boundaries_of(index)

    @classmethod
    def open(cls, path: Path, collection: Collection, memory_bytes: int = 32_000_000) -> Self:
        """Open for writing; replace an index that does not fit the definition by an empty one.

        An index of an earlier definition, with fewer fields, is opened with that one.

        Args:
            path: the index's folder.
            collection: its definition, with fields.
            memory_bytes: how much the writer may use before it flushes a segment.

        Raises:
            OSError: another writer has the index open, or the operating system refuses to open it
                for now; the files stay as they are.
        """
        try:
            definition = _fitting(_read_about(path), collection)
            return cls(path, definition, _open_index(path, definition), memory_bytes)
        except TextIndexError as error:
            if path.exists():
                _log.warning("text_index_replaced", path=str(path), reason=str(error))
                shutil.rmtree(path)
        path.mkdir(parents=True)
        index = make_index(path, collection)
        _write_about(path, collection, is_complete=False)
        writer = cls(path, collection, index, memory_bytes)
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
            OSError: the writer is dead and accepts no more documents; the disk is full, for
                example.
        """
        for one in deletes:
            self._writer.delete_documents_by_term(ID_FIELD, one)
            self._has_changes = True
        for one, fields in upserts:
            document = self._document(one, fields, bodies.get(one))
            self._writer.delete_documents_by_term(ID_FIELD, one)
            try:
                self._writer.add_document(document)
            except ValueError as error:
                # Any later document would fail, too, so this one is not at fault.
                raise OSError(f"{self.path}: {error}") from error
            self._has_changes = True

    def _document(
        self, document_id: str, fields: Mapping[str, Any], body: bytes | None
    ) -> tantivy.Document:
        marks = () if self._boundaries is None else marks_of(document_id, self._boundaries)
        place = None if body is None or self._bodies is None else self._bodies.add(body)
        return make_document(self.collection, document_id, fields, marks, place)

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
        """Make all changes durable and visible; returns the generation."""
        if self._has_changes:
            self._commit()
            self._has_changes = False
            if self._bodies is not None:
                self._bodies.remove_outdated()
        self._complete()
        return self.generation

    def _commit(self) -> None:
        if self._bodies is not None:
            self._bodies.sync()  # before the index refers to them
        self._opstamp = self._writer.commit()

    def renew(self) -> None:
        """Have the next commit begin a new generation, even if there is no other change."""
        self._writer.delete_documents_by_term(ID_FIELD, _NO_ID)
        self._has_changes = True

    def clear(self, boundaries: Sequence[str] = ()) -> None:
        """Delete all documents, padding included; does not commit.

        Args:
            boundaries: the ids, in ascending order, for whose levels documents are marked from now
                on (`id_levels`); without any, documents get no marks.
        """
        self._writer.delete_all_documents()
        if self._bodies is not None:
            self._bodies.start_new_file()
        self._boundaries = boundaries or None
        self._has_changes = True

    def add(self, documents: Iterable[tuple[str, bytes]]) -> int:
        """Add documents of the store that the index does not have; does not commit.

        Args:
            documents: id and JSON of each, as `Store.scan` yields them.

        Returns:
            The number of documents.
        """
        done = 0
        for one, body in documents:
            try:
                document = self._document(one, json.loads(body), body)
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
            _write_about(self.path, self.collection, is_complete=True, epoch=self._epoch)
            self.is_new = False

    def close(self) -> None:
        """Wait for running merges, then close; changes that are not committed are lost."""
        if self._has_changes:
            self._writer.rollback()
        self._writer.wait_merging_threads()
        self._close_bodies()

    def abandon(self) -> None:
        """Close at once; running merges and changes that are not committed are lost."""
        self._writer.rollback()  # cancels the merges, so that there is nothing to wait for
        self._writer.wait_merging_threads()
        self._close_bodies()

    def _close_bodies(self) -> None:
        if self._bodies is not None:
            self._bodies.close()


def definition_of(path: Path) -> Collection | None:
    """The definition that an index was made with; None if there is no complete index."""
    try:
        return _collection_of(_read_about(path))
    except TextIndexError:
        return None


def _boundaries_of(index: tantivy.Index) -> list[str] | None:
    marks = [mark for mark, _ in index.searcher().terms_with_prefix(PRESENT, MARK)]
    return sorted(mark.removeprefix(MARK) for mark in marks if mark != MARK) if marks else None


def _find_average(explanation: Mapping[str, Any]) -> float:
    if str(explanation.get("description", "")).startswith("avgdl"):
        return float(explanation["value"])
    found = (_find_average(detail) for detail in explanation.get("details", ()))
    return next((average for average in found if average), 0.0)


def _open_for_reading(path: Path, collection: Collection) -> tantivy.Index:
    try:
        return _open_index(path, collection)
    except OSError as error:
        if disk_failure(error) is None:
            raise
    with linked(path) as folder:
        return _open_index(folder, collection)


def _open_index(path: Path, collection: Collection) -> tantivy.Index:
    try:
        index = tantivy.Index.open(str(path))
        index.register_tokenizer(ANALYSER, make_analyser(collection.language))
        # The indexer announces new generations; watching the folder would take a thread.
        index.config_reader("manual")
        index.searcher()
    except ValueError as error:
        raise _refusal(path, error) from error
    return index


def _refusal(path: Path, error: ValueError) -> TextIndexError | OSError:
    """Tell whether a ValueError of tantivy means damage, or that the index cannot be opened now."""
    text = f"{path}: {error}"
    # Only the message tells. A lock that another writer holds, or a refused system call
    # ("Os { code: 24, …"), is no reason to delete the index.
    is_refused = "LockBusy" in text or "Os { code" in text or "(os error" in text
    return OSError(text) if is_refused else TextIndexError(text)


def _read_about(path: Path, *, is_complete: bool = True) -> dict[str, Any]:
    try:
        about = dict(json.loads((path / _ABOUT).read_bytes()))
        if about["format"] != FORMAT:
            raise TextIndexError(f"{path} has format {about['format']}; this version has {FORMAT}")
        if is_complete and not about["is_complete"]:
            raise TextIndexError(f"{path}: its rebuild is incomplete")
    except (*_ABSENT, ValueError, KeyError, TypeError) as error:
        raise TextIndexError(f"{path}: {error}") from error
    return about


def _collection_of(about: Mapping[str, Any]) -> Collection:
    try:
        return Collection.from_json(about["collection"])
    except (WireError, KeyError) as error:
        raise TextIndexError(f"the definition of the index cannot be read: {error}") from error


def _fitting(about: Mapping[str, Any], collection: Collection) -> Collection:
    """The definition by which an index goes on: `collection`, or an earlier one with fewer fields.

    Raises:
        TextIndexError: the documents were analysed in another way.
    """
    earlier = _collection_of(about)
    if earlier.analysis == collection.analysis:
        return collection
    if not collection.extends(earlier):
        raise TextIndexError("the collection's fields, weights or language have changed")
    return earlier


def _write_about(
    path: Path, collection: Collection, *, is_complete: bool, epoch: int | None = None
) -> None:
    about = {
        "format": FORMAT,
        "is_complete": is_complete,
        "epoch": time.time_ns() // 1000 if epoch is None else epoch,
        "collection": collection.to_json(),
    }
    written = path / f"{_ABOUT}.new"
    written.write_text(json.dumps(about))
    written.replace(path / _ABOUT)


def _read_opstamp(path: Path) -> int:
    try:
        return int(_read_meta(path)["opstamp"])
    except (*_ABSENT, ValueError, KeyError, TypeError) as error:
        raise TextIndexError(f"{path}: {error}") from error


def _read_fields(path: Path) -> set[str]:
    """The names of an index's fields, internal ones included."""
    try:
        return {str(field["name"]) for field in _read_meta(path)["schema"]}
    except (*_ABSENT, ValueError, KeyError, TypeError) as error:
        raise TextIndexError(f"{path}: {error}") from error


def _read_meta(path: Path) -> Any:
    return json.loads((path / "meta.json").read_bytes())
