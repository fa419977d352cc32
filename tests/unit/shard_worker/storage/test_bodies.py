"""Short documents beside a text index: how they are written, read and removed."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import tantivy

from hedgerow.common.collection import Collection
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES
from hedgerow.common.shard_log.operations import Upsert, pack_op
from hedgerow.common.wire.messages import SearchPayload, pack_body, unpack_search_body
from hedgerow.shard_worker.indexing import shard_indexer
from hedgerow.shard_worker.indexing.shard_indexer import ShardIndexer
from hedgerow.shard_worker.scoring.scorer import Scorer, ScorerConfig
from hedgerow.shard_worker.storage import schema
from hedgerow.shard_worker.storage.bodies import MAX_BODY_BYTES, BodyReader, BodyWriter
from hedgerow.shard_worker.storage.store import Store
from tests.unit.support.shards import EndlessBudget, OneShard

LONG = " ".join(["word"] * 600)
DOCUMENTS: list[dict[str, object]] = [
    {"id": "a", "title": "wing wing wing"},
    {"id": "b", "title": "wing wing and a tail"},
    {"id": "c", "title": f"wing {LONG}"},
    {"id": "d", "title": f"wing {LONG} more"},
]


def bodies_of(documents: Sequence[dict[str, object]]) -> list[bytes]:
    """As they are stored."""
    return [json.dumps(document).encode() for document in documents]


def make_shard(folder: Path, *, beside: bool = True) -> OneShard:
    """Four documents, which "wing" finds in this order; two of them are too long to lie beside."""
    shard = OneShard.of(folder, {"title": "text"}, [])
    shard.put(DOCUMENTS, beside=beside)
    return shard


def scorer_of(shard: OneShard) -> Scorer:
    """A scorer that has opened nothing yet."""
    return Scorer(ScorerConfig(str(shard.data), BUILT_IN_PROFILES))


def attached(score: Scorer, generation: int, query: str = "wing") -> list[bytes]:
    """What a scorer sends along with the hits of an index of this generation or a later one."""
    payload = pack_body(SearchPayload("u1", query, 10, "bm25", "", False))
    found = unpack_search_body(score((0, generation, payload, 10, 60_000, None), EndlessBudget()))
    return list(found.attached)


def files(shard: OneShard) -> list[Path]:
    """The files of documents beside the index."""
    return sorted((shard.folder / "u1").glob("*.bodies"))


def empty_store(shard: OneShard) -> None:
    """Take all documents from the store, and leave the index as it is."""
    store = Store.open(shard.folder / "store.sqlite")
    gone: dict[str, bytes | None] = {str(one["id"]): None for one in DOCUMENTS}
    store.apply("2-0", documents={"u1": gone})
    store.close()


def test_short_documents_come_from_beside_the_index(tmp_path: Path) -> None:
    """The store is not asked for them, and for the long ones it is."""
    shard = make_shard(tmp_path)
    score = scorer_of(shard)
    assert attached(score, 0) == bodies_of(DOCUMENTS)
    empty_store(shard)
    assert attached(score, 0) == bodies_of(DOCUMENTS[:2])
    score.close()


def test_a_document_comes_as_it_was_scored(tmp_path: Path) -> None:
    """A replaced document comes in its old form while the scorer uses the old index."""
    shard = make_shard(tmp_path)
    score = scorer_of(shard)
    old = attached(score, 0)
    new: dict[str, object] = {"id": "a", "title": "wing wing wing wing"}
    generation = shard.put([new], beside=True)
    assert attached(score, 0) == old
    assert attached(score, generation)[0] == bodies_of([new])[0]
    score.close()


def test_the_store_is_asked_where_no_file_is_there(tmp_path: Path) -> None:
    """Without the files, as after a restored snapshot, documents come from the store."""
    shard = make_shard(tmp_path)
    for file in files(shard):
        file.unlink()
    score = scorer_of(shard)
    assert attached(score, 0) == bodies_of(DOCUMENTS)
    score.close()


def test_an_index_of_an_earlier_version_is_read_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no field for places: its documents come from the store."""

    def make_schema(collection: Collection) -> tantivy.Schema:
        builder = tantivy.SchemaBuilder()
        builder.add_text_field("id", stored=True, fast=True, tokenizer_name="raw")
        builder.add_text_field("_present", tokenizer_name="raw", index_option="basic")
        for name in collection.text_fields:
            builder.add_text_field(name, tokenizer_name=schema.ANALYSER)
        return builder.build()

    with monkeypatch.context() as patch:
        patch.setattr(schema, "make_schema", make_schema)
        shard = make_shard(tmp_path)
    assert not files(shard)
    shard.put([{"id": "a", "title": "wing wing wing wing"}], beside=True)
    score = scorer_of(shard)
    assert attached(score, 0)[1:] == bodies_of(DOCUMENTS[1:])
    score.close()


def test_what_a_kill_leaves_behind_is_no_document(tmp_path: Path) -> None:
    """Bytes that were appended before a commit that never came are passed over."""
    shard = make_shard(tmp_path)
    with files(shard)[0].open("ab") as file:
        file.write(b"\xff\xffhalf of a docu")
    added: dict[str, object] = {"id": "e", "title": "tail tail tail"}
    generation = shard.put([added], beside=True)
    score = scorer_of(shard)
    assert attached(score, generation, "tail")[0] == bodies_of([added])[0]
    assert attached(score, generation) == bodies_of(DOCUMENTS)
    score.close()


def test_an_optimised_index_has_no_holes(tmp_path: Path) -> None:
    """Its documents lie in a new file, the old one is removed, and those who search go on."""
    shard = OneShard.of(tmp_path, {"title": "text"}, [])
    for turn in range(5):
        shard.put([{"id": "a", "title": f"wing {turn}"}], beside=True)
    score = scorer_of(shard)
    latest = attached(score, 0)
    (old,) = files(shard)
    indexer = ShardIndexer(shard.folder, 0, 15_000_000)
    assert indexer.begin_optimising("u1")
    while not indexer.optimise("u1"):
        assert attached(score, 0) == latest
    (new,) = files(shard)
    assert new != old
    assert new.stat().st_size == len(latest[0]) + 2
    assert attached(score, 0) == latest  # by a map of the old file
    assert attached(score, shard.open().generation) == latest
    empty_store(shard)
    assert attached(score, 0) == latest
    indexer.close()
    score.close()


def test_optimising_that_is_given_up_leaves_the_files_as_they_were(tmp_path: Path) -> None:
    """What it had written is removed."""
    shard = make_shard(tmp_path)
    before = files(shard)
    indexer = ShardIndexer(shard.folder, 0, 15_000_000)
    assert indexer.begin_optimising("u1")
    assert not indexer.optimise("u1")
    indexer.apply("3-0", [pack_op(Upsert("u1", [("e", b'{"title": "tail"}')]))])
    indexer.close()
    assert files(shard) == before
    score = scorer_of(shard)
    empty_store(shard)
    assert attached(score, 0) == bodies_of(DOCUMENTS[:2])
    score.close()


def test_holes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that is replaced again and again ends up in the store alone."""
    monkeypatch.setattr(shard_indexer, "SPARE_BODY_BYTES", 10_000)
    monkeypatch.setattr(shard_indexer, "MAX_BODY_SHARE", 0)
    shard = OneShard.of(tmp_path, {"title": "text"}, [])
    indexer = ShardIndexer(shard.folder, 0, 15_000_000)
    for turn in range(40):
        body = b'{"title": "wing %d %s"}' % (turn, b"x" * 1000)
        indexer.apply(f"{turn + 2}-0", [pack_op(Upsert("u1", [("a", body)]))])
    indexer.close()
    assert files(shard)[0].stat().st_size < 12_000
    score = scorer_of(shard)
    assert attached(score, 0) == [body]
    score.close()


def test_a_reader_follows_a_file_that_grows(tmp_path: Path) -> None:
    """What is appended after it was mapped is read, of any size that is kept."""
    writer, reader = BodyWriter(tmp_path), BodyReader(tmp_path)
    for size in (0, 1, 4096 - 7, MAX_BODY_BYTES):
        body = b"x" * size
        place = writer.add(body)
        assert (place is None) == (size > MAX_BODY_BYTES)
        if place is not None:
            writer.sync()
            assert reader.read(place) == body
    reader.close()
    writer.close()


def test_a_file_of_which_nothing_was_committed_is_removed(tmp_path: Path) -> None:
    """Nothing refers to it; one that was synced stays."""
    writer = BodyWriter(tmp_path)
    writer.add(b"1")
    writer.close()
    assert not list(tmp_path.iterdir())
    writer.add(b"1")
    writer.sync()
    writer.add(b"2")
    writer.close()
    assert writer.num_bytes == 6


def test_a_reader_lets_go_of_removed_files(tmp_path: Path) -> None:
    """They would occupy the disk for as long as they are mapped."""
    writer, reader = BodyWriter(tmp_path), BodyReader(tmp_path)
    old = writer.add(b"old")
    writer.sync()
    assert old is not None
    assert reader.read(old) == b"old"
    writer.start_new_file()
    new = writer.add(b"new")
    writer.sync()
    writer.remove_outdated()
    assert new is not None
    assert reader.read(old) == b"old"
    assert reader.read(new) == b"new"
    assert reader.read(old) is None
    reader.close()
    writer.close()


def test_a_document_is_read_that_was_half_written_when_the_file_was_mapped(tmp_path: Path) -> None:
    """The writer's buffer goes to the file in pieces that end anywhere."""
    writer, reader = BodyWriter(tmp_path), BodyReader(tmp_path)
    first, second = writer.add(b"first"), writer.add(b"second")
    writer.sync()
    assert first is not None
    assert second is not None
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    assert reader.read(first) == b"first"
    assert reader.read(second) is None
    with file.open("ab") as rest:
        rest.write(whole[-3:])
    assert reader.read(second) == b"second"
    reader.close()
    writer.close()
