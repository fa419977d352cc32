"""The vectors of the documents that are written to a text index: where each is from, and its row.

A document's own vector comes first. Without one, a field that embeds gets a vector from the
document's texts. That is not in the stored document, and may cost much to make, so an index that is
written as a whole takes it from the rows of the index before.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

import structlog
import tantivy

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.errors import EmbeddingError
from hedgerow.common.fields.vectors import VectorField
from hedgerow.shard_worker.storage.index_files import TextIndexError
from hedgerow.shard_worker.storage.schema import PRESENT
from hedgerow.shard_worker.storage.text_index import TextIndex, open_rows
from hedgerow.shard_worker.vectors.files import RowFile, RowWriter, mark_of, remove_but
from hedgerow.shard_worker.vectors.policy import MOST_SCANNED

# A field's definition, and id → text: returns id → packed vector, for each of them.
Embed: TypeAlias = Callable[[VectorField, Mapping[str, str]], Mapping[str, bytes]]
Vectors: TypeAlias = dict[str, bytes]  # field → row, of one document

_AT_ONCE: Final = 500  # documents whose vectors are in memory

_log = structlog.get_logger()


class VectorWriter:
    """Writes the rows of one index; owned by the index's writer."""

    def __init__(
        self, path: Path, collection: Collection, index: tantivy.Index, embed: Embed | None
    ) -> None:
        """Append to the rows that the index refers to, and remove all others.

        Args:
            path: the index's folder.
            collection: its definition.
            index: the index.
            embed: makes vectors; None makes none.

        Raises:
            TextIndexError: rows that the index refers to are missing.
        """
        self._path = path
        self._collection = collection
        self._embed = embed
        self._writers: dict[str, RowWriter] = {}
        if not collection.vectors:
            return
        searcher = index.searcher()
        files = open_rows(path, collection, searcher)
        remove_but(path, (file.number for file in files.values()))
        for name, field in collection.vectors.items():
            file = files.get(name)
            if file is not None:
                _check_rows(index.schema, searcher, name, file)
            self._writers[name] = RowWriter(path, field, None if file is None else file.number)

    def of(self, documents: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Vectors]:
        """The vectors of some documents, for those that have any; embeds where that is to be done.

        Raises:
            WorkError: a vector cannot be made of a document.
        """
        return self._of(documents, None, self._embed) if self._writers else {}

    def along(
        self, documents: Iterable[tuple[str, bytes, Any]], before: TextIndex | None
    ) -> Iterator[tuple[str, bytes, Any, Vectors | None]]:
        """Documents of the store (id, JSON, fields), each with its vectors.

        Args:
            documents: the documents.
            before: the index that is written again, whose embedded vectors are those of the
                documents as they are in the store; None to embed all.

        A document whose text cannot be embedded has no vector then. It is in the store already, and
        must neither keep the others from being indexed, nor be taken for one that has just come.

        Raises:
            WorkError: the function is not allowed, or cannot be imported.
        """
        if not self._writers:
            yield from ((*one, None) for one in documents)
            return
        rest = iter(documents)
        while some := list(islice(rest, _AT_ONCE)):
            found = self._of([(one, fields) for one, _, fields in some], before, self._embed_any)
            for one, body, fields in some:
                yield one, body, fields, found.get(one)

    def _of(
        self,
        documents: Sequence[tuple[str, Mapping[str, Any]]],
        before: TextIndex | None,
        embed: Embed | None,
    ) -> dict[str, Vectors]:
        found: dict[str, Vectors] = {}
        for name, field in self._collection.vectors.items():
            without = {}
            for one, fields in documents:
                if (value := fields.get(name)) is None:
                    without[one] = fields
                elif (row := _given(field, value)) is not None:
                    found.setdefault(one, {})[name] = row
            if field.embedding is not None and without:
                for one, row in self._embedded(name, field, without, before, embed):
                    found.setdefault(one, {})[name] = row
        return found

    def _embedded(
        self,
        name: str,
        field: VectorField,
        documents: Mapping[str, Mapping[str, Any]],
        before: TextIndex | None,
        embed: Embed | None,
    ) -> Iterator[tuple[str, bytes]]:
        """The id and the row of each document that has texts to embed."""
        rows = {} if before is None else _rows_of(before, name, list(documents))
        yield from rows.items()
        searched = self._collection.searched_fields
        texts = {}
        for one, fields in documents.items():
            if one not in rows and field.embedding is not None:
                texts[one] = field.embedding.text_of(fields, searched)
        texts = {one: text for one, text in texts.items() if text}
        if texts and embed is not None:
            for one, packed in embed(field, texts).items():
                yield one, _row_of(field, packed)

    def _embed_any(self, field: VectorField, texts: Mapping[str, str]) -> Mapping[str, bytes]:
        """Embed the texts that can be embedded."""
        if self._embed is None:
            return {}
        try:
            return self._embed(field, texts)
        except EmbeddingError as error:
            if len(texts) > 1:
                return {
                    one: row
                    for name, text in texts.items()
                    for one, row in self._embed_any(field, {name: text}).items()
                }
            _log.warning("stored_document_not_embedded", ids=list(texts), reason=str(error))
            return {}

    def add(self, vectors: Mapping[str, bytes]) -> tuple[dict[str, int], list[str]]:
        """Append the vectors of a document; returns their rows by field, and its marks."""
        rows = {name: self._writers[name].add(row) for name, row in vectors.items()}
        marks = [mark_of(name, self._writers[name].number or 0) for name in rows]
        return rows, marks

    def sync(self) -> None:
        """Make the rows durable; to be called before the index commits."""
        for writer in self._writers.values():
            writer.sync()

    def start_new_files(self) -> None:
        """Begin new files: the next commit will drop all documents that were added so far."""
        for writer in self._writers.values():
            writer.start_new_file()

    def remove_outdated(self) -> None:
        """Remove the old files; to be called after the first commit since `start_new_files`."""
        for writer in self._writers.values():
            writer.remove_outdated()

    def build_graphs(self) -> Iterator[None]:
        """Build the graphs of the rows that were added, as far as they need any, in steps.

        Raises:
            OSError: a graph cannot be written.
        """
        for name, writer in self._writers.items():
            if writer.number is None:
                continue
            writer.flush()
            file = RowFile(self._path, name, writer.number, writer.field)
            if file.num_rows > MOST_SCANNED:
                from hedgerow.shard_worker.vectors.graph import (  # noqa: PLC0415 - loads faiss
                    GraphBuild,
                )

                build = GraphBuild(file)
                while not build.step():
                    yield

    def close(self) -> None:
        """Close the files; those to which no commit refers are removed."""
        for writer in self._writers.values():
            writer.close()


def index_before(path: Path, collection: Collection) -> TextIndex | None:
    """The index in a folder, if it has embedded vectors that another is to take."""
    if any(field.embedding is not None for field in collection.vectors.values()):
        with suppress(TextIndexError):
            return TextIndex.open(path)
    return None


def _given(field: VectorField, value: Any) -> bytes | None:
    """The row of a document's own vector; None if it does not fit the field."""
    try:
        return _row_of(field, field.pack(value))
    except ValueError as error:  # the field is newer than the document
        _log.debug("vector_not_indexed", reason=str(error))
        return None


def _row_of(field: VectorField, packed: bytes) -> bytes:
    from hedgerow.shard_worker.vectors.rows import row_of  # noqa: PLC0415 - loads numpy

    return row_of(field, packed)


def _rows_of(index: TextIndex, name: str, ids: list[str]) -> dict[str, bytes]:
    """The rows of some documents of an index, for those that have a vector in a field."""
    file = index.vectors.get(name)
    if file is None:
        return {}
    must = tantivy.Occur.Must
    query = tantivy.Query.boolean_query(
        [
            (must, tantivy.Query.term_query(index.schema, PRESENT, file.mark, "basic")),
            (must, tantivy.Query.term_set_query(index.schema, ID_FIELD, ids)),
        ]
    )
    hits = index.searcher.search(query, len(ids), count=False, order_by_field=name).hits
    found = index.ids([address for _, address in hits])
    return {one: file.row(row) for one, (row, _) in zip(found, hits, strict=True)}


def _check_rows(
    schema: tantivy.Schema, searcher: tantivy.Searcher, name: str, file: RowFile
) -> None:
    """Make sure that all rows are there that documents refer to.

    Raises:
        TextIndexError: some are missing.
    """
    query = tantivy.Query.term_query(schema, PRESENT, file.mark, "basic")
    last = searcher.aggregate(query, {"last": {"max": {"field": name}}})["last"]["value"]
    if last is not None and last >= file.num_rows:
        raise TextIndexError(f"{file.folder}: rows of the vectors of {name} are missing")
