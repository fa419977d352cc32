"""Definitions that come back from the stores, over a real server."""

from pathlib import Path

import pytest
import structlog

from hedgerow.common.collection import Collection, define, with_added_fields
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.operations import Create, unpack_op
from hedgerow.shard_worker.indexing.shard_report import CollectionReport, ShardState, pack_ids
from hedgerow.shard_worker.snapshots.recovery import lost_shards, revive_definitions
from tests.integration.support.write_path import NUM_SHARDS, WritePath, writing
from tests.support.clusters import ndjson
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration


def state(shard: int, *collections: Collection) -> ShardState:
    """A shard that holds these collections."""
    reports = [
        CollectionReport(one.uid, one.to_json(), 1, 1, 1, pack_ids([])) for one in collections
    ]
    return ShardState(shard, f"r{shard}", "5-0", reports)


async def revive(path: WritePath, *states: ShardState) -> None:
    """Start a worker with shards in these states."""
    lost = await lost_shards(path.log, [one.shard for one in states])
    await revive_definitions(
        path.registry, [one for one in states if one.shard in lost], NUM_SHARDS
    )


async def test_an_emptied_server_gets_its_definitions_back(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """Documents that are on disk can be searched and written again, under the same definition."""
    documents = [{"id": f"d{n}", "title": "one two", "year": n} for n in range(40)]
    async with writing(redis_server, key_prefix, tmp_path) as path:
        async with path.applying():
            await path.collections.put("books", {})
            await path.documents.load("books", ndjson(documents), "applied")
            before = await path.collections.current("books")
            await until(path.is_drained)
        lost = [path.keys.collections, path.keys.documents(before.uid)]
        for shard in range(NUM_SHARDS):
            lost += [path.keys.log(shard), path.keys.applied(shard), path.keys.trimmed(shard)]
        await path.control.execute("DEL", *lost)
        lost_by_server = await lost_shards(path.log, range(NUM_SHARDS))
        assert lost_by_server == set(range(NUM_SHARDS))
        async with path.applying() as applier:
            await revive_definitions(path.registry, applier.states.values(), NUM_SHARDS)
            assert await path.collections.current("books") == before
            assert before.fields
            await path.documents.load("books", ndjson([{"id": "new", "year": 1}]), "applied")
            assert len(path.stored(before.uid)) == 41
            assert path.indexed(before.uid) == sorted(path.stored(before.uid))


async def test_a_server_that_knows_the_shard_has_the_last_word(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """A collection that was dropped while a replica was away does not come back with it."""
    books = define("books", {"fields": {"a": "text"}})
    async with writing(redis_server, key_prefix, tmp_path) as path:
        await path.log.record_applied(0, "other", "9-0")
        await revive(path, state(0, books))
        assert await path.registry.collections() == {}
        await revive(path, state(1, books))
        assert await path.registry.collections() == {"books": books}


async def test_shards_of_different_moments_agree(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """Whichever shard comes first, the fields that one has are those of all, also in the logs."""
    bare = define("books", {})
    full = bare.with_fields(define("books", {"fields": {"a": "text"}}).fields or {})
    async with writing(redis_server, key_prefix, tmp_path) as path:
        await revive(path, state(0, bare))
        await revive(path, state(1, full))
        assert await path.registry.collections() == {"books": full}
        for shard in range(NUM_SHARDS):
            entries = await path.log.read(shard, START, 10_000)
            defined = [unpack_op(one.op) for one in entries]
            assert defined == [Create(bare.to_json()), Create(full.to_json())]
            assert all(position(one.id) > (5, 0) for one in entries)


@pytest.mark.parametrize("first", ["narrow", "wide"])
async def test_fields_that_one_shard_has_been_given_are_those_of_all(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path, first: str
) -> None:
    """A shard may be restored from a snapshot of before they were added."""
    narrow = define("books", {"fields": {"a": "text"}})
    wide = with_added_fields(narrow, {"b": {"type": "text", "weight": 3}})
    order = [narrow, wide] if first == "narrow" else [wide, narrow]
    async with writing(redis_server, key_prefix, tmp_path) as path:
        await revive(path, *(state(shard, one) for shard, one in enumerate(order)))
        assert await path.registry.collections() == {"books": wide}


async def test_a_name_is_given_once(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """Of two collections of one name the first comes back, and the other is reported."""
    first, second = define("books", {"fields": {"a": "text"}}), define("books", {})
    async with writing(redis_server, key_prefix, tmp_path) as path:
        with structlog.testing.capture_logs() as logs:
            await revive(path, state(0, first), state(1, second))
        assert await path.registry.collections() == {"books": first}
    lost = [one for one in logs if one["event"] == "definition_lost"]
    assert [(one["shard"], one["uid"]) for one in lost] == [(1, second.uid)]
