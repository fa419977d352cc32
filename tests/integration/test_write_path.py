"""From NDJSON to what can be found: one gateway, real logs, a real indexer process."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hedgerow.common.errors import (
    BadRequestError,
    ConflictError,
    LoadInterruptedError,
    NotFoundError,
    RedisUnavailableError,
)
from hedgerow.shard_worker.storage.index_files import TextIndexError
from tests.integration.support import write_path
from tests.integration.support.write_path import (
    BOOKS,
    NUM_SHARDS,
    WritePath,
    books,
    by_id,
    pieces,
    writing,
)
from tests.support.clusters import ndjson
from tests.support.servers import DURABLE, RedisServer, temporary_server
from tests.support.waiting import until

pytestmark = pytest.mark.integration

path = write_path.path


async def test_loaded_documents_are_there(path: WritePath) -> None:
    """What is accepted is stored, indexed, counted and off the logs; again changes nothing."""
    async with path.applying():
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


async def test_bad_lines_are_named(path: WritePath) -> None:
    """A load of good and bad lines takes the good ones and names each bad one with its reason."""
    async with path.applying():
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


async def test_deleting(path: WritePath) -> None:
    """A deleted document is neither stored nor found, and deleting it again is no error."""
    async with path.applying():
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
        assert [report.accepted for report in reports] == [1, 1]
        # A number is a text as well; a text is no number, which is said.
        is_text = described["fields"] == {"n": "text"}
        (loser, winner) = reports if is_text else reversed(reports)
        assert loser.inference is None
        assert winner.inference is not None
        warned = [one.effect for one in loser.answer().field_warnings]
        assert warned == ([] if is_text else ["not_indexed"])

        def is_indexed() -> bool:
            # A shard that neither document belongs to may not have applied the definition yet.
            with contextlib.suppress(TextIndexError):
                return path.indexed(uid) == sorted(path.stored(uid)) == ["a", "b"]
            return False

        await until(is_indexed)
        await path.collections.put("books", {})


async def test_definitions(path: WritePath) -> None:
    """The same definition again is nothing new, another is a conflict, a wrong one names why."""
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


async def test_a_dropped_collection_leaves_nothing(path: WritePath) -> None:
    """Dropping removes documents, indexes and counts; the same name is then a new collection."""
    async with path.applying():
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


async def test_applied_or_logged(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """Without a worker, a load is logged at once; waiting for more says how far it is."""
    async with writing(redis_server, key_prefix, tmp_path, write_timeout_s=0.3) as path:
        uid = (await path.collections.put("books", BOOKS)).uid
        report = await path.documents.load("books", ndjson(books(10)), "logged")
        assert (report.accepted, report.is_applied) == (10, False)
        with pytest.raises(LoadInterruptedError, match="1 document is logged") as caught:
            await path.documents.load("books", ndjson([{"id": "late"}]), "applied")
        assert caught.value.report.accepted == 1
        with pytest.raises(LoadInterruptedError):
            await path.documents.delete("books", "b3", "applied")
        async with path.applying():
            await until(path.is_drained)
        expected = by_id([*books(10), {"id": "late"}])
        del expected["b3"]
        assert path.stored(uid) == expected


async def test_a_load_of_nothing_waits_for_what_is_logged(path: WritePath) -> None:
    """After loads that did not wait, an empty one that does returns when all can be found."""
    async with path.applying():
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


async def test_a_stream_that_pauses_is_not_held_back(path: WritePath) -> None:
    """Documents before a pause of the stream are found although the stream goes on later."""
    go_on = asyncio.Event()
    seen: list[int] = []

    async def stream() -> AsyncIterator[bytes]:
        yield b'{"id":"early","title":"x"}\n{"id":"ha'
        await go_on.wait()
        yield b'lf","title":"y"}\n'

    async with path.applying():
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


async def test_a_stream_that_fails_leaves_what_was_logged(path: WritePath) -> None:
    """When the client goes away in the middle, nothing hangs and the next load is not disturbed."""

    async def stream() -> AsyncIterator[bytes]:
        yield b'{"id":"a"}\n'
        raise ConnectionResetError

    async with path.applying():
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
            writer = path.documents._writer
            usual_s, writer._outage_timeout_s = writer._outage_timeout_s, 0.5
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
            writer._outage_timeout_s = usual_s  # a busy machine may need more for a connection
            await path.documents.load("books", ndjson([{"id": "d"}]))
            assert list(path.stored(uid)) == ["d"]
