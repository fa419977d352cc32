"""Vectors beside a text index: kills, missing files, rewriting, and embedded vectors."""

from array import array
from collections.abc import Mapping
from pathlib import Path

import pytest

from hedgerow.common.collection import Collection, define
from hedgerow.common.fields.vectors import VectorField
from hedgerow.shard_worker.storage.bodies import BodyReader
from hedgerow.shard_worker.storage.index_files import TextIndexError
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from hedgerow.shard_worker.storage.vector_writer import Embed, index_before
from hedgerow.shard_worker.vectors.files import rows_path

PLACE = {"type": "vector", "dimensions": 2, "metric": "dot"}
COLLECTION = define("c", {"fields": {"title": "text", "place": PLACE}})


def documents_of(numbers: range) -> dict[str, dict[str, object]]:
    """Documents whose vectors say which they are."""
    return {f"d{n}": {"title": f"number {n}", "place": [n, 1]} for n in numbers}


def vectors_in(folder: Path) -> dict[str, list[float]]:
    """Id → vector of each document of an index, as a search sees it."""
    index = TextIndex.open(folder)
    if "place" not in index.vectors:
        return {}
    file = index.vectors["place"]
    hits = index.searcher.search(
        index.parse_native('id:["" TO *]'), 1000, order_by_field="place"
    ).hits
    ids = index.ids([address for _, address in hits])
    return {
        one: array("f", file.row(row)).tolist()
        for one, (row, _) in zip(ids, hits, strict=True)
        if row is not None
    }


def written(folder: Path, collection: Collection = COLLECTION) -> TextIndexWriter:
    """An index with ten documents."""
    writer = TextIndexWriter.open(folder, collection)
    writer.apply((), documents_of(range(10)).items())
    writer.commit()
    return writer


def test_each_document_has_its_row(tmp_path: Path) -> None:
    """Replaced documents have their new vectors, deleted ones none."""
    writer = written(tmp_path / "i")
    writer.apply(["d1"], [("d2", {"place": [22, 1]}), ("d3", {"title": "no vector"})])
    writer.commit()
    writer.close()
    found = vectors_in(tmp_path / "i")
    assert found["d2"] == [22, 1]
    assert sorted(found) == ["d0", "d2", "d4", "d5", "d6", "d7", "d8", "d9"]


def test_a_kill_before_the_commit_leaves_what_was_committed(tmp_path: Path) -> None:
    """Rows that were appended, but not committed, belong to no document, and do no harm."""
    writer = written(tmp_path / "i")
    before = vectors_in(tmp_path / "i")
    writer.apply((), [("d2", {"place": [99, 1]}), ("d99", {"place": [99, 2]})])
    writer._vectors.sync()  # as far as a commit gets before it is killed
    writer.abandon()
    assert vectors_in(tmp_path / "i") == before
    writer = TextIndexWriter.open(tmp_path / "i", COLLECTION)
    assert not writer.is_new
    writer.apply((), [("d2", {"place": [3, 3]})])
    writer.commit()
    writer.close()
    assert vectors_in(tmp_path / "i") == {**before, "d2": [3, 3]}


@pytest.mark.parametrize("damage", ["removed", "cut short"])
def test_an_index_without_its_rows_is_rebuilt(tmp_path: Path, damage: str) -> None:
    """If rows that documents refer to are missing, the index starts empty, to be rebuilt."""
    written(tmp_path / "i").close()
    file = TextIndex.open(tmp_path / "i").vectors["place"]
    path = rows_path(tmp_path / "i", file.number)
    if damage == "removed":
        path.unlink()
        with pytest.raises(TextIndexError):
            TextIndex.open(tmp_path / "i")
    else:
        path.write_bytes(path.read_bytes()[: 9 * file.field.num_bytes])
    writer = TextIndexWriter.open(tmp_path / "i", COLLECTION)
    assert writer.is_new
    writer.close()


def test_a_rewrite_takes_up_no_room_for_what_is_gone(tmp_path: Path) -> None:
    """After a rewrite, the rows are those of the documents alone; until then, the old are found."""
    writer = written(tmp_path / "i")
    writer.apply(["d1"], [("d2", {"place": [22, 1]})])
    writer.commit()
    before = vectors_in(tmp_path / "i")
    writer.clear()
    writer.add((one, b'{"place": [%d, 5]}' % n) for n, one in enumerate(sorted(before)))
    assert vectors_in(tmp_path / "i") == before
    writer.commit()
    writer.close()
    assert TextIndex.open(tmp_path / "i").vectors["place"].num_rows == 9
    assert vectors_in(tmp_path / "i")["d0"] == [0, 5]


def test_documents_beside_the_index_have_no_vectors(tmp_path: Path) -> None:
    """A short document is kept there without its vector, which would be most of it."""
    writer = TextIndexWriter.open(tmp_path / "i", COLLECTION)
    body = b'{"id":"a","title":"t","place":"AAAAAAAAAAA="}'
    writer.apply((), [("a", {"title": "t", "place": [1, 2]})], {"a": body})
    writer.commit()
    writer.close()
    index = TextIndex.open(tmp_path / "i")
    (address,) = (address for _, address in index.searcher.search(index.parse_native("id:a")).hits)
    (place,) = index.places([address])
    assert place is not None
    reader = BodyReader(tmp_path / "i")
    assert reader.read(place) == b'{"id":"a","title":"t"}'
    reader.close()


class Embedding:
    """Embeds a text as its length, and counts the texts."""

    def __init__(self) -> None:
        """No text was embedded yet."""
        self.texts: list[str] = []

    def __call__(self, field: VectorField, texts: Mapping[str, str]) -> Mapping[str, bytes]:
        """Embed some texts."""
        self.texts += texts.values()
        return {one: array("f", [len(text), 0]).tobytes() for one, text in texts.items()}


def test_embedded_vectors_are_taken_over(tmp_path: Path) -> None:
    """A document's own vector comes first; an index that is rewritten embeds nothing again."""
    embedding = {**PLACE, "embed": "module:function"}
    collection = define("c", {"fields": {"title": "text", "place": embedding}})
    embed = Embedding()
    as_embed: Embed = embed
    writer = TextIndexWriter.open(tmp_path / "i", collection, embed=as_embed)
    documents: dict[str, dict[str, object]] = {
        "a": {"title": "four"},
        "b": {"title": "x", "place": [7, 7]},
        "c": {},
    }
    writer.apply((), documents.items())
    writer.commit()
    expected = {"a": [4, 0], "b": [7, 7]}
    assert vectors_in(tmp_path / "i") == expected
    assert embed.texts == ["four"]
    before = index_before(tmp_path / "i", collection)
    writer.clear()
    stored = [("a", b'{"title": "four"}'), ("b", b'{"title": "x", "place": [7, 7]}'), ("c", b"{}")]
    writer.add(stored, before)
    writer.commit()
    writer.close()
    assert vectors_in(tmp_path / "i") == expected
    assert embed.texts == ["four"]
