"""The end of a log that a failover has lost, in a real server whose stream is shortened by hand."""

from collections.abc import Callable

import pytest
import structlog

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.entries import Entry, position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.operations import Upsert, pack_op
from tests.integration.support import write_path
from tests.integration.support.write_path import BOOKS, WritePath, books, by_id
from tests.support.clusters import ndjson
from tests.support.waiting import until

pytestmark = pytest.mark.integration

path = write_path.path

ENTRIES = [Entry(f"{number}-0", f"op {number}".encode()) for number in range(1, 7)]


@pytest.fixture
async def log(path: WritePath) -> ShardLog:
    """Logs; that of shard 0 has the first three entries."""
    for entry in ENTRIES[:3]:
        await append(path.control, path.keys, entry)
    return path.log


async def append(control: RedisClient, keys: Keys, entry: Entry) -> None:
    """Append an entry to the log of shard 0, under an id of its own."""
    await control.execute("XADD", keys.log(0), entry.id, "op", entry.op)


async def test_what_is_missing_comes_back_under_its_ids(path: WritePath, log: ShardLog) -> None:
    """A worker puts back what it has applied; another that has applied more, the rest."""
    first = await log.restore(0, "5-0", ENTRIES[1:5])
    assert first == (ENTRIES[3:5], 0, [])
    second = await log.restore(0, "6-0", ENTRIES)
    assert second == (ENTRIES[5:], 0, [])
    assert await log.read(0, "0-0", 1000) == ENTRIES
    assert await log.restore(0, "3-0", ENTRIES[:3]) == ([], 0, [])
    [newest] = await log.append_many([(0, b"new")])
    assert position(newest.id) > position("6-0")
    assert await log.trimmed(0) == "0-0"


async def test_what_was_trimmed_does_not_come_back(log: ShardLog) -> None:
    """Entries that all replicas have applied are not missing."""
    await log.trim_to(0, "2-0")
    assert await log.restore(0, "4-0", ENTRIES[:4]) == (ENTRIES[3:4], 0, [])
    assert await log.read(0, "0-0", 1000) == ENTRIES[2:4]


async def test_what_comes_too_late_is_counted(path: WritePath, log: ShardLog) -> None:
    """Nothing is inserted before a later entry, and an id is never used for something else."""
    late = Entry("5-0", b"another write")
    await append(path.control, path.keys, late)
    restored = await log.restore(0, "6-0", ENTRIES)
    # 4 and 5 are lost, since the log goes on after them; 6 can still be put at the end.
    assert restored == (ENTRIES[5:], 2, [late])
    assert await log.read(0, "0-0", 1000) == [*ENTRIES[:3], late, ENTRIES[5]]


async def test_future_entries_come_after_what_was_applied(log: ShardLog) -> None:
    """Even if the worker no longer has what the log has lost, no id is used again."""
    ahead = "99999999999999-7"
    assert await log.restore(0, ahead, []) == ([], 0, [])
    [newest] = await log.append_many([(0, b"new")])
    assert position(newest.id) > position(ahead)
    assert await log.trimmed(0) == ahead  # a replica that has applied less has a gap


class MovingPrimary(Endpoint):
    """The server of a test, of which workers believe that it may fail over."""

    moves = True
    version = 0
    followers: list[Callable[[], None]]

    def follow(self, on_moved: Callable[[], None]) -> Callable[[], None]:
        """Note who has to be told."""
        self.followers.append(on_moved)
        return lambda: None

    @classmethod
    def move(cls) -> None:
        """A failover."""
        cls.version += 1
        for on_moved in cls.followers:
            on_moved()


@pytest.fixture
async def primary(path: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the path's server one that fails over when `MovingPrimary.move` is called."""
    MovingPrimary.followers, MovingPrimary.version = [], 0
    endpoint = path.control.primary
    assert isinstance(endpoint, Endpoint)
    fields = {name: getattr(endpoint, name) for name in Endpoint.__slots__}
    monkeypatch.setattr(path.control, "_primary", MovingPrimary(**fields))


@pytest.mark.usefixtures("primary")
async def test_a_worker_restores_the_log_and_applies_what_it_missed(path: WritePath) -> None:
    """After a failover that lost the log's end, the worker puts it back, and later writes count.

    A write that the new primary took meanwhile, under an id that the worker has passed, is applied.
    """
    async with path.applying():
        uid = (await path.collections.put("books", BOOKS)).uid
        kept, missing = books(4), [{"id": f"late-{n}", "year": n} for n in range(8)]
        await path.documents.load("books", ndjson(kept))
        applied = {shard: path.states[shard].position for shard in path.states}
        await path.documents.load("books", ndjson(missing))
        both = by_id([*kept, *missing])
        # The new primary has nothing of the second load, and its clock is behind: of two writes
        # that it has taken since, one has an id that the worker has passed.
        for shard, before in applied.items():
            ms, number = position(before)
            op = pack_op(Upsert(uid, [(f"meanwhile-{shard}", b'{"id": "x", "year": 1}')]))
            await path.control.execute("DEL", path.keys.log(shard), path.keys.applied(shard))
            await path.control.execute("HDEL", path.keys.trimmed(shard), "position")
            await path.control.execute("XADD", path.keys.log(shard), f"{ms}-{number + 1}", "op", op)
        with structlog.testing.capture_logs() as logs:
            MovingPrimary.move()
            await until(lambda: len(path.stored(uid)) == len(both) + len(applied))
            [report] = [await path.documents.load("books", ndjson([{"id": "new", "year": 1}]))]
        assert report.is_applied
        found = path.stored(uid)
        assert found.keys() == both.keys() | {"meanwhile-0", "meanwhile-1", "new"}
        restored = [line for line in logs if line["event"] == "log_end_restored"]
        assert sorted(line["shard"] for line in restored) == [0, 1]
        assert {line["late"] for line in restored} == {1}
        for shard in applied:
            assert await path.log.applied(shard) == {
                path.states[shard].replica_id: path.states[shard].position
            }


async def test_a_worker_that_was_down_says_what_the_log_has_lost(path: WritePath) -> None:
    """It starts ahead of a log that has gone on without its last entries, and applies the rest."""
    async with path.applying():
        uid = (await path.collections.put("books", BOOKS)).uid
        await path.documents.load("books", ndjson(books(8)))
        await until(path.is_drained)
    applied = {shard: state.position for shard, state in path.states.items()}
    for shard, before in applied.items():  # a new primary, without the last entry and its trimming
        ms, number = position(before)
        op = pack_op(Upsert(uid, [(f"later-{shard}", b'{"id": "x", "year": 1}')]))
        await path.control.execute("DEL", path.keys.log(shard), path.keys.trimmed(shard))
        await path.control.execute("XADD", path.keys.log(shard), f"{ms + 1}-{number}", "op", op)
    with structlog.testing.capture_logs() as logs:
        async with path.applying():
            await until(lambda: len(path.stored(uid)) == 10)
    told = [line for line in logs if line["event"] == "log_end_lost"]
    assert {line["shard"]: line["position"] for line in told} == applied
    for shard, before in applied.items():  # replicas that have applied less have a gap
        assert position(await path.log.trimmed(shard)) >= position(before)
    with structlog.testing.capture_logs() as logs:
        async with path.applying():  # it is said once
            pass
    assert not [line for line in logs if line["event"] == "log_end_lost"]
