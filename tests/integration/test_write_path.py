"""From NDJSON to what can be found: one gateway, real logs, a real indexer process."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from hedgerow.common.collection import FieldType, define
from hedgerow.common.errors import (
    BadRequestError,
    ConflictError,
    LoadInterruptedError,
    NotFoundError,
    RedisUnavailableError,
)
from hedgerow.common.shard_log.operations import Delete, Upsert, pack_op
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.indexing.indexer import IndexerConfig
from tests.integration.support.write_path import NUM_SHARDS, ndjson, pieces, writing
from tests.support.servers import DURABLE, RedisServer, temporary_server
from tests.support.waiting import until

pytestmark = pytest.mark.integration

BOOKS = {"fields": {"title": "text", "year": "integer"}}


def books(count: int, title: str = "the book") -> list[dict[str, Any]]:
    """Documents b0, b1, and so on."""
    return [{"id": f"b{n}", "title": f"{title} {n}", "year": 1900 + n % 100} for n in range(count)]


def by_id(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The model of a collection."""
    return {document["id"]: document for document in documents}


async def test_loaded_documents_are_there(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """What is accepted is stored, indexed, counted and off the logs; again changes nothing."""
    async with writing(redis_server, key_prefix, tmp_path) as path, path.applying():
        uid = (await path.collections.put("books", BOOKS)).uid
        for title in ("the book", "the same book"):
            documents = books(1500, title)
            report = await path.documents.load("books", ndjson(documents), "applied")
            assert (report.accepted, report.rejected_total, report.is_applied) == (1500, 0, True)
            assert path.stored(uid) == by_id(documents)
            assert path.indexed(uid) == sorted(by_id(documents))
            described = await path.collections.describe("books")
            assert described["documents"] == 1500
            assert sum(shard["documents"] for shard in described["shards"]) == 1500
        assert [state.collections[0].documents for state in path.states.values()] == [
            shard["documents"] for shard in described["shards"]
        ]
        await until(path.is_drained)


async def test_bad_lines_are_named(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """A load of good and bad lines takes the good ones and names each bad one with its reason."""
    async with writing(redis_server, key_prefix, tmp_path) as path, path.applying():
        uid = (await path.collections.put("books", BOOKS)).uid
        stream = pieces(
            b'{"id":"a","year":1}\n{"id":"b","ye',
            b'ar":"x"}\n\nnonsense\n{"title":"no id"}\n{"id":"c","x":' + b'"' + b"y" * 2_000_000,
            b'"}\n{"id":"d"}',
        )
        report = await path.documents.load("books", stream)
        assert (report.accepted, report.rejected_total) == (2, 4)
        assert [rejection.line for rejection in report.rejected] == [2, 4, 5, 6]
        assert report.rejected[2].reason == "id is missing; every document needs an id"
        assert sorted(path.stored(uid)) == ["a", "d"]


async def test_a_document_that_ends_the_indexer_holds_nothing_up(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """It is put aside, where it can be read; all others of its load, and later ones, are found."""
    async with writing(redis_server, key_prefix, tmp_path) as path:
        shards = tuple(range(NUM_SHARDS))
        lane = ProcessLane(
            factory="tests.integration.support.dying_indexer:make_indexer",
            config=IndexerConfig(str(tmp_path), shards),
            num_processes=1,
            max_batch=1,
            batch_window_ms=4.0,
            kill_grace_ms=30_000.0,
            gate=None,
            name="indexer",
            import_path=(str(Path(__file__).parents[2]),),
        )
        async with path.applying(lane) as applier:
            uid = (await path.collections.put("books", BOOKS)).uid
            documents = books(20)
            documents[7]["title"] = "poison"
            report = await path.documents.load("books", ndjson(documents), "applied")
            assert (report.accepted, report.is_applied) == (20, True)
            await path.documents.load("books", ndjson([{"id": "later", "year": 1}]), "applied")
            expected = {"later", *by_id(documents)} - {"b7"}
            assert set(path.stored(uid)) == set(path.indexed(uid)) == expected
            assert path.counters["writes_set_aside"] == 1
            told = applier.progress()["set_aside"]
        (file,) = (tmp_path / "set-aside").iterdir()
        assert told == {"bytes": file.stat().st_size, "dropped": 0}
        assert json.loads(file.read_text())["document"] == documents[7]


async def test_deleting(redis_server: RedisServer, key_prefix: str, tmp_path: Path) -> None:
    """A deleted document is neither stored nor found, and deleting it again is no error."""
    async with writing(redis_server, key_prefix, tmp_path) as path, path.applying():
        uid = (await path.collections.put("books", BOOKS)).uid
        await path.documents.load("books", ndjson(books(20)))
        for _ in range(2):
            await path.documents.delete("books", "b7")
            assert "b7" not in path.stored(uid)
            assert path.indexed(uid) == sorted(set(by_id(books(20))) - {"b7"})
        assert (await path.collections.describe("books"))["documents"] == 19


async def test_fields_are_inferred_once(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """Two gateways that load different first documents agree on the fields of one of them."""
    async with (
        writing(redis_server, key_prefix, tmp_path) as path,
        writing(redis_server, key_prefix, tmp_path) as other,
        path.applying(),
    ):
        uid = (await path.collections.put("books", {})).uid
        assert (await path.collections.describe("books"))["fields"] is None
        reports = await asyncio.gather(
            path.documents.load("books", ndjson([{"id": "a", "n": 1}])),
            other.documents.load("books", ndjson([{"id": "b", "n": "one two"}])),
        )
        described = await path.collections.describe("books")
        assert described["fields"] in ({"n": "integer"}, {"n": "text"})
        assert [report.inferred for report in reports] == [described["fields"]] * 2
        loser = reports[0] if described["fields"] == {"n": "text"} else reports[1]
        assert (loser.accepted, [rejection.line for rejection in loser.rejected]) == (0, [1])
        assert path.indexed(uid) == sorted(path.stored(uid))
        await path.collections.put("books", {})


async def test_definitions(redis_server: RedisServer, key_prefix: str, tmp_path: Path) -> None:
    """The same definition again is nothing new, another is a conflict, a wrong one names why."""
    async with writing(redis_server, key_prefix, tmp_path) as path:
        first = await path.collections.put("books", BOOKS)
        assert await path.collections.put("books", BOOKS) == first
        assert path.collections.get("books") == first
        with pytest.raises(ConflictError, match="fields"):
            await path.collections.put("books", {"fields": {"title": "keyword"}})
        with pytest.raises(ConflictError, match="rank_profile"):
            await path.collections.put("books", {**BOOKS, "rank_profile": "noop"})
        with pytest.raises(BadRequestError, match=r"rank_profile.*fancy"):
            await path.collections.put("more", {"rank_profile": "fancy"})
        with pytest.raises(BadRequestError, match="shards"):
            await path.collections.put("more", {"shards": 3})
        with pytest.raises(NotFoundError):
            path.collections.get("more")
        with pytest.raises(NotFoundError):
            await path.documents.load("more", ndjson([]))
        assert [one.name for one in await path.collections.list()] == ["books"]


async def test_a_dropped_collection_leaves_nothing(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """Dropping removes documents, indexes and counts; the same name is then a new collection."""
    async with writing(redis_server, key_prefix, tmp_path) as path, path.applying():
        old = await path.collections.put("books", BOOKS)
        await path.documents.load("books", ndjson(books(300)))
        await path.collections.drop("books")
        with pytest.raises(NotFoundError):
            path.collections.get("books")
        new = await path.collections.put("books", BOOKS)
        assert new.uid != old.uid
        await path.documents.load("books", ndjson(books(30)))
        assert path.stored(old.uid) == {}
        assert path.stored(new.uid) == by_id(books(30))
        assert await path.registry.document_counts(old.uid) == {}
        assert path.index_folders() == {new.uid}


async def test_a_new_store_knows_collections_that_have_left_the_log(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """What is acknowledged after a data folder was emptied is stored and found."""
    async with writing(redis_server, key_prefix, tmp_path) as path:
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


async def test_a_worker_counts_no_collection_dropped_before_it_started(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """A count that an earlier worker left behind goes when the shard is next opened."""
    async with writing(redis_server, key_prefix, tmp_path) as path:
        await path.collections.put("books", BOOKS)
        await path.registry.set_document_counts(0, {"dropped": 5})
        async with path.applying():
            await until(path.is_drained)
        assert await path.registry.document_counts("dropped") == {}


async def test_an_emptied_folder_is_a_gap_until_an_operator_says_otherwise(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """A replica that has lost documents is not served, not even after the next start.

    Its old counts stand, so that coverage shows what is missing. After the documents were loaded
    again and the key was deleted it is served and counted.
    """
    async with writing(redis_server, key_prefix, tmp_path) as path:
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


async def test_a_log_that_is_behind_its_shard_is_told(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """A log whose newest entry is older than what a shard has applied is an error in the logs."""
    async with writing(redis_server, key_prefix, tmp_path) as path:
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


async def test_writes_that_go_nowhere_are_counted(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """A write of a collection that exists but is unknown to the shard is told; of a dropped, not.

    Here the definition was changed by hand, so that no log entry tells of it.
    """
    async with writing(redis_server, key_prefix, tmp_path) as path, path.applying():
        await path.collections.put("first", BOOKS)
        await until(path.is_drained)  # past 0-0, where definitions are looked up
        strange = define("strange", BOOKS, "strange")
        await path.control.execute("HSET", path.keys.collections, "strange", strange.to_json())
        documents = [("a", b'{"id":"a"}'), ("b", b'{"id":"b"}')]
        for uid in ("strange", "dropped"):
            await path.log.append(0, pack_op(Upsert(uid, documents)))
        with structlog.testing.capture_logs() as logs:
            await until(path.is_drained)
            await until(lambda: path.counters["writes_skipped"] > 0)
    assert path.counters["writes_skipped"] == 2
    assert [(one["uid"], one["writes"]) for one in logs if one["event"] == "writes_skipped"] == [
        ("strange", 2)
    ]


async def test_applied_or_logged(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """With nobody to apply, a load is logged at once, and waiting for more says what is so."""
    async with writing(redis_server, key_prefix, tmp_path, write_timeout_s=0.3) as path:
        uid = (await path.collections.put("books", BOOKS)).uid
        report = await path.documents.load("books", ndjson(books(10)), "logged")
        assert (report.accepted, report.is_applied) == (10, False)
        with pytest.raises(LoadInterruptedError, match="1 documents are logged") as caught:
            await path.documents.load("books", ndjson([{"id": "late"}]), "applied")
        assert caught.value.report.accepted == 1
        with pytest.raises(LoadInterruptedError):
            await path.documents.delete("books", "b3", "applied")
        async with path.applying():
            await until(path.is_drained)
        expected = by_id([*books(10), {"id": "late"}])
        del expected["b3"]
        assert path.stored(uid) == expected


async def test_a_load_of_nothing_waits_for_what_is_logged(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """After loads that did not wait, an empty one that does returns when all can be found."""
    async with writing(redis_server, key_prefix, tmp_path) as path, path.applying():
        uid = (await path.collections.put("books", BOOKS)).uid
        for start in range(0, 3000, 500):
            some = books(3000)[start : start + 500]
            await path.documents.load("books", ndjson(some), "logged")
        report = await path.documents.load("books", ndjson([]), "applied")
        assert (report.accepted, report.is_applied) == (0, True)
        assert path.stored(uid) == by_id(books(3000))


async def test_a_load_waits_for_replicas(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """A load reads no further while a log is full, gives up in time, and goes on when it may."""
    given = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal given
        for document in books(20_000):
            given += 1
            yield json.dumps(document).encode() + b"\n"

    limits = {"max_log_entries": 3}
    async with writing(
        redis_server, key_prefix, tmp_path, limits=limits, write_timeout_s=0.5
    ) as path:
        uid = (await path.collections.put("books", BOOKS)).uid
        with pytest.raises(LoadInterruptedError, match="over 3 log entries") as caught:
            await path.documents.load("books", stream(), "logged")
        accepted = caught.value.report.accepted
        assert 0 < accepted <= given < 10_000
    async with (
        writing(redis_server, key_prefix, tmp_path, limits=limits) as path,
        path.applying(),
    ):
        await until(path.is_drained)
        lengths: list[int] = []

        async def watch() -> None:
            while True:
                lengths.extend((await path.log.lengths(range(NUM_SHARDS))).values())
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        report = await path.documents.load("books", stream(), "applied")
        watching.cancel()
        assert report.accepted == 20_000
        # A flush adds to a log that is not over the limit a full batch and one that is under way.
        assert 3 < max(lengths) <= 3 + 2
        assert path.stored(uid) == by_id(books(20_000))


async def test_a_stream_that_pauses_is_not_held_back(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """Documents before a pause of the stream are found although the stream goes on later."""
    go_on = asyncio.Event()
    seen: list[int] = []

    async def stream() -> AsyncIterator[bytes]:
        yield b'{"id":"early","title":"x"}\n{"id":"ha'
        await go_on.wait()
        yield b'lf","title":"y"}\n'

    async with writing(redis_server, key_prefix, tmp_path) as path, path.applying():
        uid = (await path.collections.put("books", {})).uid
        loading = asyncio.create_task(
            path.documents.load(
                "books", stream(), on_progress=lambda report: seen.append(report.accepted)
            )
        )
        await until(lambda: seen == [1])
        await until(lambda: list(path.stored(uid)) == ["early"])
        go_on.set()
        assert (await loading).accepted == 2
        assert path.indexed(uid) == ["early", "half"]


async def test_a_stream_that_fails_leaves_what_was_logged(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """When the client goes away in the middle, nothing hangs and the next load is not disturbed."""

    async def stream() -> AsyncIterator[bytes]:
        yield b'{"id":"a"}\n'
        raise ConnectionResetError

    async with writing(redis_server, key_prefix, tmp_path) as path, path.applying():
        uid = (await path.collections.put("books", BOOKS)).uid
        with pytest.raises(ConnectionResetError):
            await path.documents.load("books", stream())
        await path.documents.load("books", ndjson([{"id": "b"}]))
        assert "b" in path.stored(uid)


async def test_a_server_killed_in_the_middle(key_prefix: str, tmp_path: Path) -> None:
    """A load outlives a server that is killed and comes back; what it accepted is there once."""
    with temporary_server(*DURABLE) as server:
        documents = books(6000)

        async def stream() -> AsyncIterator[bytes]:
            for number, document in enumerate(documents):
                if number in (2000, 4000):
                    server.stop(kill=True)
                    asyncio.get_running_loop().call_later(0.3, server.start)
                yield json.dumps(document).encode() + b"\n"

        async with writing(server, key_prefix, tmp_path) as path, path.applying():
            uid = (await path.collections.put("books", BOOKS)).uid
            report = await path.documents.load("books", stream())
            assert report.accepted == 6000
            assert path.stored(uid) == by_id(documents)
            assert path.indexed(uid) == sorted(by_id(documents))


async def test_a_server_that_stays_away(key_prefix: str, tmp_path: Path) -> None:
    """Without a server a load ends in time with an error, and works when the server is back."""
    with temporary_server(*DURABLE) as server:
        async with writing(server, key_prefix, tmp_path) as path, path.applying():
            path.documents._outage_timeout_s = 0.5
            uid = (await path.collections.put("books", BOOKS)).uid

            async def stream() -> AsyncIterator[bytes]:
                yield b'{"id":"a"}\n'
                server.stop(kill=True)
                yield b'{"id":"b"}\n'

            with pytest.raises(LoadInterruptedError, match="0 documents were accepted"):
                await path.documents.load("books", stream())
            with pytest.raises(RedisUnavailableError):
                await path.documents.load("books", ndjson([{"id": "c"}]))
            server.start()
            await path.documents.load("books", ndjson([{"id": "d"}]))
            assert list(path.stored(uid)) == ["d"]


async def test_a_lost_index_is_made_anew(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """A shard whose text index is gone or damaged rebuilds it from the store when it is opened."""
    async with writing(redis_server, key_prefix, tmp_path) as path:
        async with path.applying():
            uid = (await path.collections.put("books", BOOKS)).uid
            await path.documents.load("books", ndjson(books(200)))
        shutil.rmtree(tmp_path / "shards" / "0" / uid)
        (tmp_path / "shards" / "1" / uid / "meta.json").write_text("{")
        async with path.applying():
            assert path.indexed(uid) == sorted(by_id(books(200)))
            assert all(state.collections[0].generation > 0 for state in path.states.values())


async def test_changed_fields_index_again(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """A create with other fields makes a shard index its documents again, by the new fields."""
    async with writing(redis_server, key_prefix, tmp_path) as path, path.applying():
        collection = await path.collections.put("books", BOOKS)
        await path.documents.load("books", ndjson(books(50)))
        changed = collection.with_fields({"title": FieldType.KEYWORD})
        await path.registry._change("books", collection.to_json().encode(), changed, NUM_SHARDS)
        await path.documents.load("books", ndjson([{"id": "new", "title": "x"}]))
        assert path.indexed(collection.uid) == sorted([*by_id(books(50)), "new"])


async def test_foreign_entries_hold_nothing_up(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """What no gateway has written into a log is passed over."""
    async with writing(redis_server, key_prefix, tmp_path) as path, path.applying():
        uid = (await path.collections.put("books", BOOKS)).uid
        await path.log.append_many([(shard, b"\xc1") for shard in range(NUM_SHARDS)])
        await path.control.execute("XADD", path.keys.log(0), "*", "other", "field")
        await path.documents.load("books", ndjson(books(20)))
        assert path.stored(uid) == by_id(books(20))


async def test_ids_of_earlier_versions_are_applied(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """A log may hold ids that a load no longer takes; they are stored, found and removed."""
    odd = ["a\n", "b\x7f", "..", "\u2028"]
    async with writing(redis_server, key_prefix, tmp_path) as path, path.applying():
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
