"""One collection's text index on one shard, for reading: a tantivy index."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Self

import tantivy

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.machine.disk import disk_failure
from hedgerow.shard_worker.storage.id_levels import MARK as LEVEL_MARK
from hedgerow.shard_worker.storage.id_levels import Level
from hedgerow.shard_worker.storage.index_files import (
    TextIndexError,
    collection_of,
    open_index,
    read_about,
    read_fields,
    read_opstamp,
)
from hedgerow.shard_worker.storage.index_replacement import await_replacement
from hedgerow.shard_worker.storage.places import place_field
from hedgerow.shard_worker.storage.read_only_index import linked
from hedgerow.shard_worker.storage.schema import EVERY, ORDERED_LISTS, PADDING, PRESENT
from hedgerow.shard_worker.vectors.files import MARK, RowFile, read_marks

# Field → the most frequent term of some index. Another index of the collection will have it, too,
# and to find one there takes 7 ms for 19,000 terms, since tantivy reads all of them.
_frequent_terms: Final[dict[str, str]] = {}
_MOST_FIELDS: Final = 1000
_CANDIDATES: Final = 100  # since only documents that are deleted may have the most frequent ones


class TextIndex:
    """A snapshot of an index, for reading; opening one takes about 0.4 ms.

    Attributes:
        path: the index's folder.
        collection: the definition that the index was made with.
        definition: the same as JSON.
        schema: tantivy's schema.
        searcher: tantivy's view of the snapshot.
        generation: of the commit that it shows; see `TextIndexWriter.generation`.
        vectors: vector field → the rows of its documents' vectors, if any document has one.
    """

    def __init__(self, path: Path) -> None:
        about = read_about(path)
        self.path = path
        self.definition = str(about["collection"])
        self.collection = collection_of(about)
        # Read before the snapshot is taken, so that it may be too old, but never too new.
        self.generation = int(about["epoch"]) + read_opstamp(path)
        self._lists: dict[str, bool] = {}  # keyword field → whether it has lists
        self._kept_ids: dict[int, str] = {}  # segment and document in one number → id
        self._num_vectors: dict[str, int] = {}
        self._place_field = place_field(read_fields(path))
        self._index = _open_for_reading(path, self.collection)
        self.schema = self._index.schema
        self.searcher = self._index.searcher()
        self.vectors: Mapping[str, RowFile] = {}
        if self.collection.vectors:
            self.vectors = open_rows(path, self.collection, self.searcher)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open for reading.

        Raises:
            TextIndexError: there is no index, it is damaged, or it is being rebuilt.
            OSError: the operating system refuses to read it for now.
        """
        try:
            return cls(path)
        except (TextIndexError, OSError):
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
        counts = dict(self.searcher.terms_with_prefix(PRESENT, LEVEL_MARK))
        if counts.pop(LEVEL_MARK, 0) != self.num_counted:
            return []
        return [Level(count, mark) for mark, count in sorted(counts.items(), key=itemgetter(1))]

    @cached_property
    def all_levels(self) -> list[Level]:
        """The same, and last the level of all documents."""
        return [*self.levels, Level(self.num_counted, None)]

    @cached_property
    def orders_lists(self) -> bool:
        """Whether every document was indexed with the values of its lists in ascending order."""
        return self.searcher.doc_freq(PRESENT, ORDERED_LISTS) == self.num_counted

    def has_lists(self, name: str) -> bool:
        """Whether some document has several values of a keyword field; counted once, in about 1 ms.

        Args:
            name: a keyword field of the index.
        """
        known = self._lists.get(name)
        if known is None:
            every = tantivy.Query.term_query(self.schema, PRESENT, EVERY, "basic")
            counts = self.searcher.aggregate(every, {"n": {"value_count": {"field": name}}})
            present = tantivy.Query.exists_query(name)
            known = counts["n"]["value"] > count_of(self.searcher.search(present, 1))
            self._lists[name] = known
        return known

    def num_vectors(self, name: str) -> int:
        """How many documents have a vector in a field; counted once, in 3 ns for each.

        Args:
            name: a key of `vectors`.
        """
        known = self._num_vectors.get(name)
        if known is None:
            mark = self.vectors[name].mark
            if self.searcher.num_docs == self.max_doc:  # none is deleted
                known = self.searcher.doc_freq(PRESENT, mark)
            else:
                present = tantivy.Query.term_query(self.schema, PRESENT, mark, "basic")
                counts = self.searcher.aggregate(present, {"n": {"value_count": {"field": name}}})
                known = int(counts["n"]["value"])
            self._num_vectors[name] = known
        return known

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
        known = _frequent_terms.get(name)
        average = self.average_length(name, [known]) if known is not None else 0.0
        if not average:
            found = self.searcher.terms_with_prefix(name, "", None, _CANDIDATES)
            average = self.average_length(name, (term for term, _ in found))
            if len(_frequent_terms) >= _MOST_FIELDS:
                _frequent_terms.clear()
            _frequent_terms.update((name, term) for term, _ in found[:1])
        return round(average * self.max_doc)

    def ids(self, addresses: Sequence[tantivy.DocAddress]) -> list[str]:
        """The ids of found documents; 1.2 µs each, since only the id is stored."""
        document = self.searcher.doc
        return [document(address).get_first(ID_FIELD) for address in addresses]  # type: ignore[misc]  # the field is in every document

    def kept_ids(self, addresses: Sequence[tantivy.DocAddress]) -> list[str]:
        """The same as `ids`, but each is kept in memory, and takes 0.2 µs from the second time on.

        For documents of which there are few: an id that is kept takes 200 bytes.
        """
        kept = self._kept_ids
        ids = [kept.get(one.segment_ord << 32 | one.doc) for one in addresses]
        if None in ids:
            for place, one in enumerate(addresses):
                if ids[place] is None:
                    [found] = self.ids([one])
                    ids[place] = kept[one.segment_ord << 32 | one.doc] = found
        return ids  # type: ignore[return-value]  # none is None by now

    def places(self, addresses: Sequence[tantivy.DocAddress]) -> Sequence[int | None]:
        """The places of found documents in `bodies`; None for a document that is not there.

        Takes 1 µs, and 0.2 µs for each document (`places`).
        """
        field = self._place_field
        if field is None:
            return [None] * len(addresses)
        stored = self.searcher.fast_field_values(field.name, list(addresses))
        return field.places(stored)  # type: ignore[arg-type]  # the field holds nothing but integers


def count_of(result: tantivy.SearchResult) -> int:
    """How many documents a search matched."""
    return int(result.count)  # type: ignore[attr-defined]  # the stubs lack it


def open_rows(path: Path, collection: Collection, searcher: tantivy.Searcher) -> dict[str, RowFile]:
    """Map the rows of an index's vectors, by field.

    Raises:
        TextIndexError: some are missing.
        OSError: the operating system refuses it for now.
    """
    opened = {}
    marks = (mark for mark, _ in searcher.terms_with_prefix(PRESENT, MARK))
    try:
        for name, number in read_marks(marks).items():
            opened[name] = RowFile(path, name, number, collection.vectors[name])
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise TextIndexError(f"{path}: the rows of vectors are missing: {error}") from error
    return opened


def _find_average(explanation: Mapping[str, Any]) -> float:
    if str(explanation.get("description", "")).startswith("avgdl"):
        return float(explanation["value"])
    found = (_find_average(detail) for detail in explanation.get("details", ()))
    return next((average for average in found if average), 0.0)


def _open_for_reading(path: Path, collection: Collection) -> tantivy.Index:
    try:
        return open_index(path, collection)
    except OSError as error:
        if disk_failure(error) is None:
            raise
    with linked(path) as folder:
        return open_index(folder, collection)
