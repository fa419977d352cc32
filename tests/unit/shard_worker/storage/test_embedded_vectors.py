"""Vectors that are made of documents, when they come and when an index is written again."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tantivy

from hedgerow.common.collection import define
from hedgerow.common.errors import EmbeddingError
from hedgerow.common.fields.vectors import VectorField
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from hedgerow.shard_worker.storage.vector_writer import VectorWriter

COLLECTION = define(
    "things",
    {
        "fields": {
            "text": "text",
            "v": {"type": "vector", "dimensions": 2, "metric": "dot", "embed": "models:embed"},
        }
    },
)


def embed(_field: VectorField, texts: Mapping[str, str]) -> Mapping[str, bytes]:
    """The length of each text; refuses all if one is "bad"."""
    if "bad" in texts.values():
        raise EmbeddingError("a bad text")
    return {one: struct.pack("<2f", len(text), 1) for one, text in texts.items()}


DOCUMENTS: list[tuple[str, dict[str, Any]]] = [
    ("a", {"text": "red"}),
    ("b", {"text": "bad"}),
    ("c", {"text": "blue"}),
    ("d", {"text": "green", "v": [3, 4]}),
    ("e", {}),
]


@pytest.fixture
def writer(tmp_path: Path) -> VectorWriter:
    """The vectors' writer of an empty index."""
    TextIndexWriter.open(tmp_path / "index", COLLECTION).close()
    index = tantivy.Index.open(str(tmp_path / "index"))
    return VectorWriter(tmp_path / "index", COLLECTION, index, embed)


def test_a_document_that_cannot_be_embedded_is_not_indexed_without_a_vector(
    writer: VectorWriter,
) -> None:
    """It is tried again, and then set aside."""
    with pytest.raises(EmbeddingError):
        writer.of(DOCUMENTS)


def test_documents_bring_vectors_or_get_them(writer: VectorWriter) -> None:
    """One that has a vector keeps it; one without texts gets none."""
    good = [one for one in DOCUMENTS if one[0] != "b"]
    found = writer.of(good)
    assert {one: struct.unpack("<2f", row["v"]) for one, row in found.items()} == {
        "a": (3, 1),
        "c": (4, 1),
        "d": (3, 4),
    }


def test_a_stored_document_that_cannot_be_embedded_keeps_no_other_from_being_indexed(
    writer: VectorWriter,
) -> None:
    """When an index is written again, it has no vector, and the others of its batch have theirs."""
    stored = ((one, b"", fields) for one, fields in DOCUMENTS)
    rows = {one: vectors for one, _, _, vectors in writer.along(stored, None)}
    assert list(rows) == ["a", "b", "c", "d", "e"]
    assert [one for one, vectors in rows.items() if vectors] == ["a", "c", "d"]
