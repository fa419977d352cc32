"""One collection's text index on one shard: a folder with a tantivy index and what made it."""

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
from hedgerow.shard_worker.storage.read_only_index import linked
from hedgerow.shard_worker.storage.schema import (
    ANALYSER,
    BALLAST,
    EVERY,
    PLACE,
    PRESENT,
    make_analyser,
    make_document,
    make_index,
)

FORMAT = 1
_ABOUT = "hedgerow.json"
_ABSENT = (FileNotFoundError, NotADirectoryError)
_NO_ID = ""  # no document has it
_REBUILD_COMMIT = 20_000  # documents; bounds what one rebuild holds in memory beside the writer

_log = structlog.get_logger()


class TextIndexError(Exception):
    """The folder holds no index that this version can read; it is to be made anew."""


class TextIndex:
    """A snapshot of an index, for reading; opening another costs about 0.4 ms.

    Attributes:
        path: the index's folder.
        collection: the definition that the index was made with.
        schema: tantivy's schema.
        searcher: tantivy's view of the snapshot.
        generation: that of the commit it shows, as `TextIndexWriter.generation`.
    """

    def __init__(self, path: Path) -> None:
        about = _read_about(path)
        self.path = path
        self.collection = _collection_of(about)
        # Read before the snapshot is taken: the label may be too old, never too new.
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
            OSError: the system does not let it be read now.
        """
        return cls(path)

    @cached_property
    def max_doc(self) -> int:
        """Documents as BM25 counts: with ballast, and those deleted until a merge drops them."""
        return self.num_counted + self.searcher.doc_freq(PRESENT, BALLAST)

    @cached_property
    def num_counted(self) -> int:
        """The same without ballast."""
        return self.searcher.doc_freq(PRESENT, EVERY)

    @property
    def num_segments(self) -> int:
        """Parts that a search looks into one after the other; at most one for each commit."""
        return self.searcher.num_segments

    @cached_property
    def num_documents(self) -> int:
        """Documents that can be found."""
        return self.searcher.num_docs - self.num_ballast

    @cached_property
    def num_ballast(self) -> int:
        """Documents of `length_padding`, which are there for their length alone."""
        query = tantivy.Query.term_query(self.schema, PRESENT, BALLAST)
        return count_of(self.searcher.search(query, 1))

    @cached_property
    def levels(self) -> list[Level]:
        """The levels of ids, the lowest first; none where a document lacks its marks."""
        counts = dict(self.searcher.terms_with_prefix(PRESENT, MARK))
        if counts.pop(MARK, 0) != self.num_counted:
            return []
        return [Level(count, mark) for mark, count in sorted(counts.items(), key=itemgetter(1))]

    def document_frequency(self, field: str, term: str) -> int:
        """In how many documents a term occurs, deleted ones included, as BM25 counts them."""
        return self.searcher.doc_freq(field, term)

    def parse_native(self, query: str) -> tantivy.Query:
        """Parse by tantivy itself, for the few queries that its Python interface cannot build.

        Raises:
            ValueError: it does not parse.
        """
        # The strict grammar of ranges has no escapes.
        parsed, errors = self._index.parse_query_lenient(query, [ID_FIELD])
        if errors:
            raise ValueError(f"{query}: {errors[0]}")
        return parsed

    def average_length(self, name: str, terms: Iterable[str]) -> float:
        """The average number of words of a text field that tantivy's BM25 works with.

        tantivy tells it in the explanation of a score, and nowhere else.

        Args:
            name: the field.
            terms: the first of them that the index has serves to get a score explained.

        Returns:
            0 when none of the terms occurs.
        """
        for term in terms:
            query = tantivy.Query.term_query(self.schema, name, term)
            hits = self.searcher.search(query, 1, count=False).hits
            if hits:
                return _find_average(json.loads(query.explain(self.searcher, hits[0][1]).to_json()))
        return 0.0

    def total_words(self, name: str) -> int:
        """Words of a text field over all documents that BM25 counts, ballast included."""
        terms = self.searcher.terms_with_prefix(name, "", None, 1)
        return round(self.average_length(name, [term for term, _ in terms]) * self.max_doc)

    def ids(self, addresses: Sequence[tantivy.DocAddress]) -> list[str]:
        """The ids of found documents; 1.2 µs each, since nothing but the id is stored."""
        document = self.searcher.doc
        return [document(address).get_first(ID_FIELD) for address in addresses]  # type: ignore[misc]  # the field is in every document

    def places(self, addresses: Sequence[tantivy.DocAddress]) -> Sequence[int | None]:
        """Where found documents are in `bodies`; None of one that is not there.

        It takes 5 µs, and 0.1 for each.
        """
        if not self._has_places:
            return [None] * len(addresses)
        return self.searcher.fast_field_values(PLACE, list(addresses))  # type: ignore[return-value]  # the field has no others


def count_of(result: tantivy.SearchResult) -> int:
    """How many documents a search matched."""
    return int(result.count)  # type: ignore[attr-defined]  # it is there; the stubs leave it out


class TextIndexWriter:
    """The one writer of an index. What is not committed when the process dies is as if not done.

    Attributes:
        collection: the definition that documents are indexed by.
        is_new: the folder held no index that could be used (none, a damaged one, or one of other
            fields), so this one starts empty: `rebuild` it from the store before all else.
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
        # A kill in the middle of a commit leaves files that the next commit, which counts its
        # operations from the same number, would fail to create.
        self._writer.garbage_collect_files()
        # tantivy gives a new writer's first operation the number of the last commit. A merge that
        # starts before the next commit (an earlier one was killed, say) takes a segment with
        # deletes of that number to be up to date, and so loses the operation if it is a deletion.
        # This one deletes nothing: the real ones have numbers of their own.
        self._writer.delete_documents_by_term(ID_FIELD, _NO_ID)
        self._has_changes = False
        # Indexes of earlier versions have no field for places.
        self._bodies = BodyWriter(path) if PLACE in _read_fields(path) else None
        # None where documents get no marks.
        self._boundaries: Sequence[str] | None = _boundaries_of(index)

    @classmethod
    def open(cls, path: Path, collection: Collection, memory_bytes: int = 32_000_000) -> Self:
        """Open for writing; make the index anew when there is none that fits.

        Args:
            path: the index's folder.
            collection: its definition, with fields.
            memory_bytes: what the writer may use before it flushes a segment.

        Raises:
            OSError: another writer has it, or the system does not let it be opened now; what is
                there stays as it is.
        """
        try:
            _check_analysis(_read_about(path), collection)
            return cls(path, collection, _open_index(path, collection), memory_bytes)
        except TextIndexError as error:
            if path.exists():
                _log.warning("text_index_made_anew", path=str(path), reason=str(error))
                shutil.rmtree(path)
        path.mkdir(parents=True)
        index = make_index(path, collection)
        _write_about(path, collection, is_complete=False)
        writer = cls(path, collection, index, memory_bytes)
        writer.is_new = True
        return writer

    @property
    def body_bytes(self) -> int:
        """What `bodies` takes of the disk, holes included."""
        return 0 if self._bodies is None else self._bodies.num_bytes

    @property
    def generation(self) -> int:
        """Grows with each commit, also when the index is made anew."""
        # Operations are stamped 1, 2, …; far fewer than a million a second, so that an index made
        # anew, whose epoch is the µs of that moment, never repeats a generation.
        return self._epoch + self._opstamp

    def apply(
        self,
        deletes: Iterable[str],
        upserts: Iterable[tuple[str, Mapping[str, Any]]],
        bodies: Mapping[str, bytes | None] = MappingProxyType({}),
    ) -> None:
        """Take up deletions, then documents that replace those of the same id; commits nothing.

        Args:
            deletes: ids.
            upserts: id and fields of each.
            bodies: id → JSON of those that are to be kept in `bodies`, as they are stored; the
                others are read from the store.

        Raises:
            TypeError, ValueError, OverflowError: a document cannot be indexed.
            OSError: the writer is dead, and takes no document any more: a full disk, say.
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
                # Any later document would fail alike: its fault it is not.
                raise OSError(f"{self.path}: {error}") from error
            self._has_changes = True

    def _document(
        self, document_id: str, fields: Mapping[str, Any], body: bytes | None
    ) -> tantivy.Document:
        marks = () if self._boundaries is None else marks_of(document_id, self._boundaries)
        place = None if body is None or self._bodies is None else self._bodies.add(body)
        return make_document(self.collection, document_id, fields, marks, place)

    def remove_ballast(self) -> None:
        """Take up the deletion of all ballast."""
        self._writer.delete_documents_by_term(PRESENT, BALLAST)
        self._has_changes = True

    def add_ballast(self, words: Mapping[str, tantivy.PreTokenizedString]) -> None:
        """Take up a document of ballast, of these words in each field."""
        document = tantivy.Document()
        document.add_text(PRESENT, BALLAST)
        for name, text in words.items():
            document.add_pre_tokenized_text(name, text)
        self._writer.add_document(document)
        self._has_changes = True

    def commit(self) -> int:
        """Make what was applied durable and visible; returns the generation."""
        if self._has_changes:
            self._commit()
            self._has_changes = False
            if self._bodies is not None:
                self._bodies.remove_outdated()
        self._complete()
        return self.generation

    def _commit(self) -> None:
        if self._bodies is not None:
            self._bodies.sync()  # first: what the index refers to must be there
        self._opstamp = self._writer.commit()

    def clear(self, boundaries: Sequence[str] = ()) -> None:
        """Take up that everything goes, ballast included, but for what is added from now on.

        Args:
            boundaries: of the levels that documents are marked with from now on (`id_levels`), in
                ascending order; none for no marks.
        """
        self._writer.delete_all_documents()
        if self._bodies is not None:
            self._bodies.begin_anew()
        self._boundaries = boundaries or None
        self._has_changes = True

    def add(self, documents: Iterable[tuple[str, bytes]]) -> int:
        """Take up documents of the store, none of which the index has; commits nothing.

        Args:
            documents: id and JSON of each, as `Store.scan` yields them.

        Returns:
            How many those were.
        """
        done = 0
        for one, body in documents:
            try:
                document = self._document(one, json.loads(body), body)
            except (TypeError, ValueError, OverflowError):
                # The gateway has checked each against the fields, so this should not be.
                _log.exception("document_not_indexed", path=str(self.path), id=one)
            else:
                self._writer.add_document(document)
            self._has_changes = True
            done += 1
        return done

    def rebuild(
        self, documents: Iterable[tuple[str, bytes]], boundaries: Sequence[str] = ()
    ) -> int:
        """Replace everything by the store's documents, and commit.

        Args:
            documents: as for `add`.
            boundaries: as for `clear`.

        Returns:
            How many documents there are.
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
            _write_about(self.path, self.collection, is_complete=True, epoch=self._epoch)
            self.is_new = False

    def close(self) -> None:
        """Close, when the merges that are under way have ended; drops what is not committed."""
        if self._has_changes:
            self._writer.rollback()
        self._writer.wait_merging_threads()
        self._close_bodies()

    def abandon(self) -> None:
        """Close at once: merges that are under way are dropped, and what is not committed."""
        self._writer.rollback()  # ends them, where waiting would let them end
        self._writer.wait_merging_threads()
        self._close_bodies()

    def _close_bodies(self) -> None:
        if self._bodies is not None:
            self._bodies.close()


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
        # Readers are replaced when the indexer says so; watching the folder would cost a thread.
        index.config_reader("manual")
        index.searcher()
    except ValueError as error:
        raise _refusal(path, error) from error
    return index


def _refusal(path: Path, error: ValueError) -> TextIndexError | OSError:
    """What tantivy's one kind of error means: damage, or that the index cannot be had now."""
    text = f"{path}: {error}"
    # Its text alone tells them apart: a lock that another writer holds, or a call that the system
    # refused ("Os { code: 24, …"). An index must not be deleted for either.
    is_refused = "LockBusy" in text or "Os { code" in text or "(os error" in text
    return OSError(text) if is_refused else TextIndexError(text)


def _read_about(path: Path, *, is_complete: bool = True) -> dict[str, Any]:
    try:
        about = dict(json.loads((path / _ABOUT).read_bytes()))
        if about["format"] != FORMAT:
            raise TextIndexError(f"{path} has format {about['format']}; this version has {FORMAT}")
        if is_complete and not about["is_complete"]:
            raise TextIndexError(f"{path}: its rebuild has not ended")
    except (*_ABSENT, ValueError, KeyError, TypeError) as error:
        raise TextIndexError(f"{path}: {error}") from error
    return about


def _collection_of(about: Mapping[str, Any]) -> Collection:
    try:
        return Collection.from_json(about["collection"])
    except (WireError, KeyError) as error:
        raise TextIndexError(f"what the index was made with cannot be read: {error}") from error


def _check_analysis(about: Mapping[str, Any], collection: Collection) -> None:
    """Refuse an index whose documents were analysed in another way than `collection` says."""
    if _collection_of(about).analysis != collection.analysis:
        raise TextIndexError("the collection's fields, weights or language have changed")


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
