"""Two replicas of the same shards, each with a folder of its own, over one server's logs."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.shard_log.operations import Upsert, pack_op
from hedgerow.shard_worker.indexing.applier import Applier
from tests.integration.support.write_path import (
    NUM_SHARDS,
    WritePath,
    following,
    opened,
    running,
    writing,
)
from tests.support.clusters import ndjson
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration

SHARDS = tuple(range(NUM_SHARDS))
BOOKS = {"fields": {"title": "text"}}


@pytest.fixture
async def path(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> AsyncIterator[WritePath]:
    """A gateway's side, without any replica yet; `applying` is the first one."""
    async with writing(redis_server, key_prefix, tmp_path / "first") as one:
        yield one


@asynccontextmanager
async def another(
    path: WritePath, name: str
) -> AsyncIterator[tuple[Applier, list[frozenset[int]]]]:
    """Another replica, opened and not yet running; and what it has withheld, each time."""
    settings = path.settings.model_copy(update={"data": path.settings.data.parent / name})
    withheld: list[frozenset[int]] = []
    async with opened(
        path.control, settings, SHARDS, counters=path.counters, on_withheld=withheld.append
    ) as applier:
        yield applier, withheld


def books(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Documents b0, b1, and so on."""
    return [{"id": f"b{number}", "title": "a book"} for number in range(first, first + count)]


async def has_log(path: WritePath) -> bool:
    """Whether every shard has entries for a replica to apply."""
    return min((await path.log.lengths(SHARDS)).values()) > 10


async def counted(path: WritePath, uid: str) -> int:
    """How many documents the shards are said to hold."""
    return sum((await path.registry.document_counts(uid)).values())


async def test_a_replica_that_was_away_is_not_searched_before_it_has_what_others_have(
    path: WritePath,
) -> None:
    """The log waits for it; until it has caught up it is withheld, and so are its old counts.

    A caller that waited for a write to be applied has waited for the others alone.
    """
    async with path.applying():
        async with another(path, "second") as (second, withheld), running(following(second)):
            uid = (await path.collections.put("books", BOOKS)).uid
            await path.documents.load("books", ndjson(books(100)), "applied")
            await until(path.is_drained)
            assert withheld == []
        await path.documents.load("books", ndjson(books(100, first=100)), "logged")
        await path.documents.delete("books", "b7", "logged")

        async def is_counted() -> bool:
            return await counted(path, uid) == 199

        await until(is_counted)
        assert 0 not in (await path.log.lengths(SHARDS)).values()
        async with another(path, "second") as (second, withheld):
            assert withheld[-1] == set(SHARDS)
            assert second.gaps == set()
            assert (second.progress()["shards"], second.progress()["behind"]) == ([], [*SHARDS])
            for shard in SHARDS:
                await second._announcer.announce(shard)
            assert await is_counted()
            assert second.withheld == set(SHARDS)
            async with running(following(second)):
                await until(lambda: second.progress()["shards"] == [*SHARDS])
                assert withheld[-1] == set()
                await until(path.is_drained)
            assert sum(state.collections[0].documents for state in second.states.values()) == 199
            assert await is_counted()


async def test_a_replica_catches_up_under_a_load_that_does_not_end(path: WritePath) -> None:
    """One that is always a few entries behind another, as under a load, is searched too."""
    uid = (await path.collections.put("books", BOOKS)).uid

    async def load_and_apply_at_once() -> None:
        for number in itertools.count():
            op = pack_op(Upsert(uid, [(f"b{number}", b'{"title":"a book"}')]))
            for shard, entry in enumerate(
                await path.log.append_many([(one, op) for one in SHARDS])
            ):
                await path.log.record_applied(shard, "ahead", entry.id)

    loading = asyncio.create_task(load_and_apply_at_once())
    await until(lambda: has_log(path))
    async with another(path, "second") as (second, withheld), running(following(second)):
        assert withheld[-1] == set(SHARDS)
        await until(lambda: second.withheld == set())
    loading.cancel()
    await asyncio.wait([loading])
    assert loading.cancelled()


async def test_what_only_a_dead_replica_says_it_has_is_not_waited_for(path: WritePath) -> None:
    """Where the log has nothing more, a replica is searched, though another once was further."""
    for shard in SHARDS:
        await path.log.record_applied(shard, "gone", f"{2**45}-0")
    async with another(path, "second") as (second, withheld):
        assert withheld[-1] == set(SHARDS)
        async with running(following(second)):
            await until(lambda: second.withheld == set())


async def test_a_replica_is_known_before_anybody_hears_of_it(path: WritePath) -> None:
    """From when it is opened the log keeps what it lacks, though another applies and trims."""
    async with another(path, "second") as (second, _):
        async with path.applying() as first:
            await path.collections.put("books", BOOKS)
            await path.documents.load("books", ndjson(books(100)), "logged")
            ends = {shard: await path.log.newest(shard) for shard in SHARDS}

            async def is_applied() -> bool:
                applied = await path.log.applied_of(SHARDS)
                return all(
                    applied[shard].get(first.states[shard].replica_id) == ends[shard]
                    for shard in SHARDS
                )

            await until(is_applied)
        async with running(following(second)):
            await until(path.is_drained)
            assert second.gaps == set()
            assert sum(state.collections[0].documents for state in second.states.values()) == 100
