"""What a worker makes of its shards' logs: gaps, foreign entries, lost indexes, poison."""

import json
import shutil
from pathlib import Path

import msgpack
import pytest
import structlog

from hedgerow.common.collection import define
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.storage import StorageSettings
from hedgerow.common.shard_log.operations import FORMAT, Delete, Upsert, pack_op
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.indexing.indexer import IndexerConfig
from tests.integration.support import write_path
from tests.integration.support.write_path import BOOKS, NUM_SHARDS, WritePath, books, by_id
from tests.support.clusters import ndjson
from tests.support.launching import start_forkserver
from tests.support.waiting import until

pytestmark = pytest.mark.integration

path = write_path.path


async def test_a_document_that_ends_the_indexer_holds_nothing_up(
    path: WritePath, tmp_path: Path
) -> None:
    """It is put aside, where it can be read; all others of its load, and later ones, are found.

    What is put aside of a shard takes `storage.max_set_aside_mb` at most.
    """
    path.settings = path.settings.model_copy(
        update={"storage": StorageSettings(max_set_aside_mb=1)}
    )
    lane = ProcessLane(
        factory="tests.integration.support.dying_indexer:make_indexer",
        config=IndexerConfig(str(tmp_path)),
        num_processes=1,
        max_batch=1,
        batch_window_ms=4.0,
        kill_grace_ms=30_000.0,
        gate=None,
        name="indexer",
        start_forkserver=start_forkserver,
        import_path=(str(Path(__file__).parents[2]),),
    )
    async with path.applying(lane) as applier:
        uid = (await path.collections.put("books", BOOKS)).uid
        documents = books(20)
        shard = shard_of("b7", NUM_SHARDS)
        other = next(n for n in range(8, 20) if shard_of(f"b{n}", NUM_SHARDS) == shard)
        for number in (7, other):
            documents[number] |= {"title": "poison", "stored": "x" * 600_000}
        report = await path.documents.load("books", ndjson(documents), "applied")
        assert (report.accepted, report.is_applied) == (20, False)
        assert [note.id for note in report.set_aside] == ["b7", f"b{other}"]
        await path.documents.load("books", ndjson([{"id": "later", "year": 1}]), "applied")
        expected = {"later", *by_id(documents)} - {"b7", f"b{other}"}
        assert set(path.stored(uid)) == set(path.indexed(uid)) == expected
        assert path.counters["writes_set_aside"] == 2
        told = applier.progress()["set_aside"]
    (file,) = (tmp_path / "set-aside").iterdir()
    assert told == {"bytes": file.stat().st_size, "dropped": 1}
    assert json.loads(file.read_text())["document"] == documents[other]


async def test_a_new_store_knows_collections_that_have_left_the_log(
    path: WritePath, tmp_path: Path
) -> None:
    """What is acknowledged after a data folder was emptied is stored and found."""
    async with path.applying():
        uid = (await path.collections.put("books", BOOKS)).uid
        await until(path.is_drained)
    shutil.rmtree(tmp_path / "shards")
    for shard in range(NUM_SHARDS):
        await path.control.execute("DEL", path.keys.applied(shard))
    async with path.applying():
        report = await path.documents.load("books", ndjson(books(50)))
        assert (report.accepted, report.is_applied) == (50, True)
        assert path.stored(uid) == by_id(books(50))
        assert path.indexed(uid) == sorted(by_id(books(50)))
    assert path.counters["writes_skipped"] == 0


async def test_a_worker_counts_no_collection_dropped_before_it_started(path: WritePath) -> None:
    """A count that an earlier worker left behind goes when the shard is next opened."""
    await path.collections.put("books", BOOKS)
    await path.registry.set_document_counts(0, {"dropped": 5})
    async with path.applying():
        await until(path.is_drained)
    assert await path.registry.document_counts("dropped") == {}


async def test_an_emptied_folder_is_a_gap_until_an_operator_says_otherwise(
    path: WritePath, tmp_path: Path
) -> None:
    """A replica that has lost documents is not served, not even after the next start.

    Its old counts stand, so that coverage shows what is missing. After the documents were loaded
    again and the key was deleted it is served and counted.
    """
    async with path.applying() as applier:
        uid = (await path.collections.put("books", BOOKS)).uid
        await path.documents.load("books", ndjson(books(50)))
        await until(path.is_drained)
        assert applier.progress()["shards"] == [0, 1]
        before = await path.registry.document_counts(uid)
    shutil.rmtree(tmp_path / "shards")
    for shard in range(NUM_SHARDS):
        await path.control.execute("DEL", path.keys.applied(shard))
    async with path.applying() as applier:
        assert (applier.progress()["shards"], applier.progress()["gaps"]) == ([], [0, 1])
        await path.documents.load("books", ndjson(books(20)), "applied")
        assert path.stored(uid) == by_id(books(20))
        assert await path.registry.document_counts(uid) == before
    async with path.applying() as applier:
        assert applier.gaps == {0, 1}
        await path.documents.load("books", ndjson([{"id": "more"}]), "applied")
        for shard in range(NUM_SHARDS):
            await path.control.execute("DEL", path.keys.trimmed(shard))
        await until(lambda: applier.gaps == set())
        assert applier.progress()["shards"] == [0, 1]

        async def is_counted() -> bool:
            return sum((await path.registry.document_counts(uid)).values()) == 21

        await until(is_counted)
    async with path.applying() as applier:
        assert applier.gaps == set()


async def test_a_log_that_is_behind_its_shard_is_told(path: WritePath) -> None:
    """A log whose newest entry is older than what a shard has applied is an error in the logs."""
    async with path.applying():
        await path.collections.put("books", BOOKS)
        await until(path.is_drained)
    await path.control.execute("DEL", path.keys.log(1))
    await path.control.execute("XADD", path.keys.log(1), "7-7", "op", b"")
    with structlog.testing.capture_logs() as logs:
        async with path.applying():
            pass
    assert [(one["shard"], one["newest"]) for one in logs if one["event"] == "log_behind"] == [
        (1, "7-7")
    ]


async def test_writes_that_go_nowhere_are_counted(path: WritePath) -> None:
    """A write to a collection that exists but that the shard does not know is reported.

    One to a dropped collection is not. Here the definition was changed by hand, so that no log
    entry carries it.
    """
    async with path.applying():
        await path.collections.put("first", BOOKS)
        await until(path.is_drained)  # past 0-0, where definitions are looked up
        strange = define("strange", BOOKS, "strange")
        await path.control.execute("HSET", path.keys.collections, "strange", strange.to_json())
        documents = [("a", b'{"id":"a"}'), ("b", b'{"id":"b"}')]
        with structlog.testing.capture_logs() as logs:
            for uid in ("strange", "dropped"):
                await path.log.append(0, pack_op(Upsert(uid, documents)))
            await until(path.is_drained)
            await until(lambda: path.counters["writes_skipped"] > 0)
    assert path.counters["writes_skipped"] == 2
    assert [(one["uid"], one["writes"]) for one in logs if one["event"] == "writes_skipped"] == [
        ("strange", 2)
    ]


async def test_a_lost_index_is_made_anew(path: WritePath, tmp_path: Path) -> None:
    """A shard whose text index is gone or damaged rebuilds it from the store when it is opened."""
    async with path.applying():
        uid = (await path.collections.put("books", BOOKS)).uid
        await path.documents.load("books", ndjson(books(200)))
    shutil.rmtree(tmp_path / "shards" / "0" / uid)
    (tmp_path / "shards" / "1" / uid / "meta.json").write_text("{")
    async with path.applying():
        assert path.indexed(uid) == sorted(by_id(books(200)))
        assert all(state.collections[0].generation > 0 for state in path.states.values())


async def test_changed_fields_index_again(path: WritePath) -> None:
    """A create with other fields makes a shard index its documents again, by the new fields."""
    async with path.applying():
        collection = await path.collections.put("books", BOOKS)
        await path.documents.load("books", ndjson(books(50)))
        changed = collection.with_fields({"title": FieldType.KEYWORD})
        await path.registry._change("books", collection.to_json().encode(), changed, NUM_SHARDS)
        await path.documents.load("books", ndjson([{"id": "new", "title": "x"}]))
        assert path.indexed(collection.uid) == sorted([*by_id(books(50)), "new"])


async def test_foreign_entries_hold_nothing_up(path: WritePath) -> None:
    """What no gateway has written into a log is passed over."""
    async with path.applying():
        uid = (await path.collections.put("books", BOOKS)).uid
        await path.log.append_many([(shard, b"\xc1") for shard in range(NUM_SHARDS)])
        await path.control.execute("XADD", path.keys.log(0), "*", "other", "field")
        await path.documents.load("books", ndjson(books(20)))
        assert path.stored(uid) == by_id(books(20))


async def test_an_entry_of_a_newer_format_is_not_passed_over(path: WritePath) -> None:
    """A worker stops before it, for this shard alone, says so, and keeps its place in the log."""
    newer = msgpack.packb([FORMAT + 1, "merge", "u"])
    with structlog.testing.capture_logs() as told:
        async with path.applying() as applier:
            uid = (await path.collections.put("books", BOOKS)).uid
            await path.documents.load("books", ndjson(books(20)))
            await until(path.is_drained)
            before = applier.states[0].position
            (appended,) = await path.log.append_many([(0, newer)])
            await path.log.append(0, pack_op(Delete(uid, [*by_id(books(20))])))
            await path.log.append(1, pack_op(Delete(uid, [*by_id(books(20))])))
            failed = [("apply_failed", 0)]
            await until(lambda: [(one["event"], one.get("shard")) for one in told][-1:] == failed)
            await until(lambda: applier.states[1].position > before)
            assert applier.states[0].position == before
            assert await path.log.ids(0, "+") == [appended.id, *(await path.log.ids(0, "+"))[1:]]
    (error,) = {one["error"] for one in told if one["event"] == "apply_failed"}
    assert f"has format {FORMAT + 1}" in error
    assert "upgrade this process" in error


async def test_ids_of_earlier_versions_are_applied(path: WritePath) -> None:
    """A log may hold ids that a load no longer takes; they are stored, found and removed."""
    odd = ["a\n", "b\x7f", "..", "\u2028"]
    async with path.applying():
        uid = (await path.collections.put("books", BOOKS)).uid
        documents = [(one, json.dumps({"id": one, "title": "x"}).encode()) for one in odd]
        await path.log.append(0, pack_op(Upsert(uid, documents)))
        await path.documents.load("books", ndjson([{"id": "new", "title": "x"}]))
        await until(path.is_drained)
        assert sorted(path.stored(uid)) == sorted([*odd, "new"])
        assert path.indexed(uid) == sorted([*odd, "new"])
        await path.log.append(0, pack_op(Delete(uid, odd)))
        await until(path.is_drained)
        assert sorted(path.stored(uid)) == ["new"]
