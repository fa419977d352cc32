"""The registry and the shards' logs in a real server."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
import structlog

from hedgerow.common.collection import define
from hedgerow.common.errors import ConfigurationError, ConflictError, NotFoundError
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.shard_log import set_aside_notes
from hedgerow.common.shard_log.entries import START, furthest, position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.operations import Create, Delete, Drop, Upsert, pack_op, unpack_op
from hedgerow.common.shard_log.set_aside_notes import SetAsideNote, SetAsideNotes
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.serving.heartbeat_sender import HeartbeatSender
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NUM_SHARDS = 3


@dataclass
class Redis:
    """Everything over one connection, under a prefix of its own."""

    control: RedisClient
    keys: Keys
    log: ShardLog
    registry: Registry


@pytest.fixture
async def redis(redis_server: RedisServer, key_prefix: str) -> AsyncIterator[Redis]:
    """A connected registry and log."""
    control = await connect(RedisSettings(url=redis_server.url))
    keys = Keys(key_prefix)
    yield Redis(control, keys, ShardLog(control, keys), Registry(control, keys))
    await control.close()


async def test_a_log_keeps_order(redis: Redis) -> None:
    """What is appended is read back in order, each shard by itself."""
    ops = [pack_op(Delete("u", [str(number)])) for number in range(100)]
    appended = await redis.log.append_many([(number % 2, op) for number, op in enumerate(ops)])
    assert [entry.length for entry in appended] == [number // 2 + 1 for number in range(100)]
    for shard in (0, 1):
        entries = await redis.log.read(shard, START, max_bytes=1_000_000)
        assert [entry.op for entry in entries] == ops[shard::2]
        assert [entry.id for entry in entries] == [one.id for one in appended[shard::2]]
        assert sorted(entries, key=lambda entry: position(entry.id)) == entries


@pytest.mark.parametrize("size", [10, 1000, 30_000])
async def test_a_read_is_bounded_in_bytes(redis: Redis, size: int) -> None:
    """A read stops soon after its bound, and following reads give the rest, none twice."""
    ops = [pack_op(Upsert("u", [(str(number), bytes(size))])) for number in range(200)]
    await redis.log.append_many([(0, op) for op in ops])
    found: list[bytes] = []
    after = START
    while entries := await redis.log.read(0, after, max_bytes=100_000):
        total = sum(len(entry.op) for entry in entries)
        # The first question cannot know how large entries are; it asks for 32.
        assert total <= max(100_000 + size + 100, 32 * (size + 100))
        found += [entry.op for entry in entries]
        after = entries[-1].id
    assert found == ops


async def test_the_furthest_position_is_by_number_not_by_letters() -> None:
    """Positions are compared as pairs of numbers."""
    assert furthest({"a": "9-9", "b": "10-1", "c": "10-0"}) == "10-1"
    assert furthest({}) == START


async def _is_blocked(redis: Redis) -> bool:
    info: dict[str, Any] = await redis.control.execute("INFO", "clients")
    return bool(info["blocked_clients"])


async def test_a_read_waits_for_the_next_entry(redis: Redis) -> None:
    """A blocking read ends when something is appended, and gives nothing after its time."""
    assert await redis.log.read(0, START, 1000, block_ms=30) == []
    reading = asyncio.create_task(redis.log.read(0, START, 1000, block_ms=5000))
    await until(partial(_is_blocked, redis), what="the read waits")
    appended = await redis.log.append(0, b"op")
    assert [entry.id for entry in await reading] == [appended.id]


async def test_a_log_is_trimmed_to_what_all_have_applied(redis: Redis) -> None:
    """Trimming removes the entries up to the position and no more; ids go on growing."""
    appended = await redis.log.append_many([(0, b"op")] * 5)
    await redis.log.record_applied(0, "r1", appended[2].id)
    applied = await redis.log.record_applied(0, "r2", appended[3].id)
    assert applied == {"r1": appended[2].id, "r2": appended[3].id}
    assert await redis.log.applied(0) == applied
    assert await redis.log.trim_to(0, appended[2].id) == 3
    left = await redis.log.read(0, START, 1000)
    assert [entry.id for entry in left] == [appended[3].id, appended[4].id]
    assert await redis.log.trim_to(0, appended[4].id) == 2
    assert await redis.log.length(0) == 0
    assert position((await redis.log.append(0, b"op")).id) > position(appended[4].id)
    await redis.log.forget_replica(0, "r1")
    assert await redis.log.applied(0) == {"r2": appended[3].id}


async def test_how_far_a_log_was_trimmed_is_not_taken_back(redis: Redis) -> None:
    """A replica that trims by older news leaves the mark of one that has trimmed further."""
    appended = await redis.log.append_many([(0, b"op")] * 3)
    assert await redis.log.trim_to(0, appended[2].id, has_documents=True) == 3
    assert await redis.log.trim_to(0, appended[0].id, has_documents=False) == 0
    for applied in (appended[0].id, START):
        assert await redis.log.gap(0, f"at {applied}", applied) == appended[2].id
    assert await redis.log.gap(0, "whole", appended[2].id) is None
    assert await redis.log.missed([0, 1]) == {0: {f"at {appended[0].id}", f"at {START}"}, 1: set()}


async def test_the_number_of_shards_is_fixed(redis: Redis) -> None:
    """The first process to name a number makes the cluster; another number is refused."""
    with pytest.raises(ConfigurationError, match="no number of shards"):
        await redis.registry.cluster()
    assert await redis.registry.cluster(8) == 8
    assert await redis.registry.cluster() == 8
    assert await redis.registry.cluster(8) == 8
    with pytest.raises(ConfigurationError, match=r"4.*8"):
        await redis.registry.cluster(4)


async def test_another_format_is_refused(redis: Redis) -> None:
    """What another version has stored is not touched."""
    await redis.registry.cluster(8)
    await redis.control.execute("HSET", redis.keys.cluster, "format", "99")
    with pytest.raises(ConfigurationError, match="format 99"):
        await redis.registry.cluster()


async def test_a_collection_and_the_logs_change_together(redis: Redis) -> None:
    """Creating, giving fields and dropping reach every shard's log once, in that order."""
    first = define("books", {})
    created = await asyncio.gather(
        *(redis.registry.create_collection(define("books", {}), NUM_SHARDS) for _ in range(5)),
        redis.registry.create_collection(first, NUM_SHARDS),
    )
    assert len({collection.uid for collection in created}) == 1
    stored = created[0]
    fields = [{"title": FieldType.TEXT}, {"title": FieldType.KEYWORD}]
    wanted = [stored.with_fields(one, inferred=one) for one in fields]
    given = await asyncio.gather(
        *(redis.registry.compare_and_set_fields(one, NUM_SHARDS) for one in wanted)
    )
    assert given[0] == given[1]
    assert given[0] in wanted
    wider = await asyncio.gather(
        *(
            redis.registry.add_fields(stored, {name: "date"}, NUM_SHARDS)
            for name in ("first", "second", "second")
        )
    )
    last = max(wider, key=lambda one: one.revision)
    assert (last.revision, len(last.fields or {}), last.extends(given[0])) == (2, 3, True)
    with pytest.raises(ConflictError, match="first"):
        await redis.registry.add_fields(stored, {"first": "text"}, NUM_SHARDS)
    assert await redis.registry.collections() == {"books": last}
    await redis.registry.drop_collection(stored, NUM_SHARDS)
    assert await redis.registry.collections() == {}
    with pytest.raises(NotFoundError):
        await redis.registry.drop_collection(stored, NUM_SHARDS)
    with pytest.raises(NotFoundError):
        await redis.registry.compare_and_set_fields(wanted[0], NUM_SHARDS)
    for shard in range(NUM_SHARDS):
        entries = await redis.log.read(shard, START, 100_000)
        assert [unpack_op(entry.op) for entry in entries] == [
            Create(stored.to_json()),
            Create(given[0].to_json()),
            Create(min(wider, key=lambda one: one.revision).to_json()),
            Create(last.to_json()),
            Drop(stored.uid),
        ]


async def test_a_recreated_collection_is_another(redis: Redis) -> None:
    """Dropping by an outdated definition leaves alone a collection made again under its name."""
    old = await redis.registry.create_collection(define("books", {}), NUM_SHARDS)
    await redis.registry.drop_collection(old, NUM_SHARDS)
    new = await redis.registry.create_collection(define("books", {}), NUM_SHARDS)
    assert new.uid != old.uid
    with pytest.raises(NotFoundError):
        await redis.registry.drop_collection(old, NUM_SHARDS)
    assert await redis.registry.collection("books") == new


async def test_heartbeats_and_counts(redis: Redis) -> None:
    """What workers say is what gateways read; a heartbeat that is none is passed over."""
    beat = Heartbeat("w0", 1, "here", [0], "0.1.0", 5, 4)
    await redis.registry.beat(beat)
    await redis.control.execute("HSET", redis.keys.workers, "odd", b"\xc1")
    assert await redis.registry.heartbeats() == {"w0": beat}
    await redis.registry.forget_worker("w0")
    assert await redis.registry.heartbeats() == {}
    await redis.registry.set_document_counts(0, {"u": 3, "v": 1})
    await redis.registry.set_document_counts(2, {"u": 4})
    assert await redis.registry.document_counts_of(["u", "v", "w"]) == {
        "u": {0: 3, 2: 4},
        "v": {0: 1},
        "w": {},
    }
    await redis.registry.set_document_counts(0, {"u": 2}, dropped=["v"])
    assert await redis.registry.document_counts("u") == {0: 2, 2: 4}
    assert await redis.registry.document_counts("v") == {}
    await redis.control.execute("RPUSH", redis.keys.search_queue(1), "a", "b")
    assert await redis.registry.backlog([0, 1]) == {0: 0, 1: 2}


async def test_a_worker_takes_back_only_what_it_said_itself(redis: Redis) -> None:
    """A worker that leaves late does not take its successor of the same name with it."""
    first, second = (
        HeartbeatSender(redis.registry, beat, interval_s=1.0)
        for beat in (
            partial(Heartbeat, "w0", 1, "here", [0], "1", 5_000, 1_000),
            partial(Heartbeat, "w0", 1, "here", [0], "1", 6_000, 4_000),
        )
    )
    await first.beat()
    await second.beat()
    await first.leave("w0")
    assert (await redis.registry.heartbeats())["w0"].started_at_ms == 4_000
    await second.leave("w0")
    assert await redis.registry.heartbeats() == {}


async def test_a_gap_is_seen_and_stays(redis: Redis) -> None:
    """A replica behind what was trimmed has a gap, whatever it applies later, until told not to."""
    appended = await redis.log.append_many([(0, pack_op(Delete("u", ["a"]))) for _ in range(4)])
    old, last = appended[0].id, appended[2].id
    assert await redis.log.gap(0, "new", START) is None
    await redis.log.trim_to(0, last, has_documents=False)
    assert await redis.log.gap(0, "new", START) is None  # definitions alone are known elsewhere
    await redis.log.trim_to(0, last)
    assert await redis.log.gap(0, "whole", last) is None
    assert await redis.log.gap(0, "new", START) == last
    assert await redis.log.gap(0, "old", old) == last
    await redis.log.trim_to(0, appended[3].id)
    assert await redis.log.gap(0, "old", appended[3].id) == last
    assert await redis.log.gap(1, "old", START) is None
    await redis.control.execute("DEL", redis.keys.trimmed(0))
    assert await redis.log.gap(0, "old", appended[3].id) is None


async def test_a_position_that_was_edited_is_passed_over(redis: Redis) -> None:
    """What is no position counts for nothing, and the others do."""
    await redis.control.execute("HSET", redis.keys.applied(0), "edited", "soon", "r", "5-0")
    assert await redis.log.applied(0) == {"r": "5-0"}
    assert await redis.log.record_applied(0, "s", "6-0") == {"r": "5-0", "s": "6-0"}
    await redis.control.execute("HSET", redis.keys.trimmed(0), "position", "soon", "documents", 1)
    assert await redis.log.gap(0, "s", "6-0") is None


async def test_the_newest_entry_is_known_after_it_was_trimmed(redis: Redis) -> None:
    """An emptied log still says where it got to; one that never was says its start."""
    assert await redis.log.newest(0) == START
    (appended,) = await redis.log.append_many([(0, pack_op(Drop("u")))])
    await redis.log.trim_to(0, appended.id)
    assert await redis.log.length(0) == 0
    assert await redis.log.newest(0) == appended.id


async def test_a_definition_that_cannot_be_read_hides_no_other(redis: Redis) -> None:
    """Definitions of a newer version are passed over with an error, and can be told by name."""
    old = define("old", {"fields": {"a": "text"}})
    newer = old.to_json().replace('"text"', '"tensor"').replace('"old"', '"newer"')
    fields = ("old", old.to_json(), "newer", newer, "broken", "{", b"\xff", "[]")
    await redis.control.execute("HSET", redis.keys.collections, *fields)
    with structlog.testing.capture_logs() as logs:
        assert await redis.registry.collections() == {"old": old}
        await redis.registry.collections()
    assert [one["collection"] for one in logs] == [b"newer", b"broken", b"\xff"]
    assert await redis.registry.uids() == {old.uid}
    with pytest.raises(ConflictError, match=r"newer.*tensor"):
        await redis.registry.collection("newer")


async def test_a_drop_whose_answer_is_lost_is_a_drop(redis: Redis) -> None:
    """Found done by the attempt before, it ends well, is announced, and leaves no statistics."""
    books = define("books", {})
    await redis.registry.create_collection(books, NUM_SHARDS)
    statistics = (redis.keys.statistics(books.uid), redis.keys.shard_statistics(books.uid))
    await redis.control.execute("SET", statistics[0], "x")
    await redis.control.execute("HSET", statistics[1], 0, "x")
    execute = redis.control.execute

    async def losing(*command: Any, **named: Any) -> Any:
        answer = await execute(*command, **named)
        if command[0] == "EVAL":  # sent again, as Control does
            answer = await execute(*command, **named)
        return answer

    with (
        patch.object(redis.control, "execute", losing),
        patch.object(redis.registry, "announce") as announce,
    ):
        await redis.registry.drop_collection(books, NUM_SHARDS)
    announce.assert_awaited_with("collections")
    assert await redis.registry.collections() == {}
    assert await redis.control.execute("EXISTS", *statistics) == 0
    for shard in range(NUM_SHARDS):
        assert await redis.log.length(shard) == 2
    with pytest.raises(NotFoundError):
        await redis.registry.drop_collection(books, NUM_SHARDS)


async def test_documents_that_were_set_aside_are_found_by_their_entries(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, whichever replicas have noted it; only the newest are kept."""
    monkeypatch.setattr(set_aside_notes, "MOST_NOTES", 3)
    notes = SetAsideNotes(redis.control, redis.keys)
    for number in range(1, 6):
        await notes.add(0, SetAsideNote(f"{number}-0", "a", "no" * 300))
    await notes.add(0, SetAsideNote("5-0", "a", "another reason"))
    await notes.add(0, SetAsideNote("5-1", "b", "no"))
    await notes.add(1, SetAsideNote("5-1", "c", "no"))
    found = await redis.log.set_aside_of({0: ["1-0", "3-0", "5-0"], 1: ["5-0"]})
    assert [(note.entry, note.id) for note in found] == [("5-0", "a")]
    assert [note.id for note in await redis.log.set_aside_of({0: ["5-1"], 1: ["5-1"]})] == [
        "b",
        "c",
    ]
    assert await redis.control.execute("ZCARD", redis.keys.set_aside(0)) == 3
    assert 0 < await redis.control.execute("TTL", redis.keys.set_aside(0)) <= 86_400


async def test_counts_of_collections_that_are_gone_are_forgotten(redis: Redis) -> None:
    """Only this shard's, and none of a collection that it holds or that is still defined."""
    defined = define("defined", {})
    await redis.registry.create_collection(defined, NUM_SHARDS)
    for uid in (defined.uid, "held", "gone"):
        for shard in (0, 1):
            await redis.registry.set_document_counts(shard, {uid: 5})
    await redis.registry.forget_counts(0, ["held"])
    counts = await redis.registry.document_counts_of([defined.uid, "held", "gone"])
    assert counts == {defined.uid: {0: 5, 1: 5}, "held": {0: 5, 1: 5}, "gone": {1: 5}}


async def test_a_log_goes_on_after_a_position(redis: Redis) -> None:
    """What is appended comes after it, in a log that is lost, one that is behind, and no other."""
    ahead = "9999999999999-7"
    for shard in (0, 1):
        if shard == 1:
            await redis.log.append(shard, b"op")
        assert await redis.log.newest(shard) != ahead
        assert await redis.log.gap(shard, "less", "5-0") is None
        assert await redis.log.continue_after(shard, ahead)
        # Only a replica that is that far ahead has this; no other can get it from here.
        assert await redis.log.gap(shard, "less", "5-0") == ahead
        assert await redis.log.newest(shard) == ahead
        appended = await redis.log.append(shard, b"new")
        assert position(appended.id) > position(ahead)
        assert [one.op for one in await redis.log.read(shard, ahead, 1000)] == [b"new"]
        assert not await redis.log.continue_after(shard, ahead)
        assert not await redis.log.continue_after(shard, "5-0")
        assert await redis.log.newest(shard) == appended.id
    first, _ = await redis.log.append_many([(2, b"op")] * 2)
    assert not await redis.log.continue_after(2, first.id)
    assert await redis.log.trimmed(2) == START


async def test_replicas_that_know_less_take_nothing_back(redis: Redis) -> None:
    """A trim by an older snapshot removes nothing, and leaves the mark and the count alone."""
    ids = [one.id for one in await redis.log.append_many([(0, b"op")] * 10)]
    assert await redis.log.length(0) == 10
    await redis.log.trim_to(0, START, kept=(6, ids[5]))
    assert await redis.log.length(0) == 4
    assert await redis.log.trim_to(0, ids[3], kept=(4, ids[7])) == 4
    assert await redis.log.length(0) == 2
    assert await redis.log.trim_to(0, ids[1], kept=(8, ids[9])) == 0
    assert (await redis.log.trimmed(0), await redis.log.length(0)) == (ids[3], 2)
    # One that was not yet told how far the others are: what it removes is no longer kept.
    assert await redis.log.trim_to(0, ids[4], kept=(1, ids[5])) == 1
    assert await redis.log.length(0) == 2
    # Snapshots were switched off: all that is left waits again.
    await redis.log.trim_to(0, ids[4])
    assert await redis.log.length(0) == 5


async def test_the_oldest_entry_after_a_position_is_found(redis: Redis) -> None:
    """What follows a position, also one that was trimmed; None at the end, and for an empty log."""
    ops = [(0, pack_op(Delete("u", [str(number)]))) for number in range(3)]
    first, second, third = [entry.id for entry in await redis.log.append_many(ops)]
    await redis.control.execute("XDEL", redis.keys.log(0), first)
    places = [(0, START), (0, first), (0, second), (0, third), (1, START)]
    assert await redis.log.oldest_after(places) == [second, second, third, None, None]
    assert await redis.log.oldest_after([]) == []


async def test_ids_are_read_up_to_a_position(redis: Redis) -> None:
    """All ids up to a position are given, however many there are."""
    ids = [one.id for one in await redis.log.append_many([(0, b"op")] * 450)]
    for last in (0, 199, 200, 201, 449):
        assert await redis.log.ids(0, ids[last]) == ids[: last + 1]
    assert await redis.log.ids(1, ids[0]) == []
