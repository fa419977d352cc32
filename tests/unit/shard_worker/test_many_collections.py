"""What a worker compares each second: with many collections, in turns that are no longer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.optimising import OptimisingStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.statistics import StatisticsStore, changes_of, label_of, version_of
from hedgerow.shard_worker.control import jobs
from hedgerow.shard_worker.indexing import summaries
from hedgerow.shard_worker.indexing.shard_report import CollectionReport, ShardState
from tests.support.virtual_time import run_virtually

NUM_SHARDS = 4
LABELS = {shard: label_of(f"r{shard}", 7) for shard in range(NUM_SHARDS)}
VERSION = version_of(LABELS)
KEYS = Keys("t")


class Server:
    """Has the same statistics of every collection.

    Attributes:
        num_done: commands that were sent.
    """

    settings = None

    def __init__(self) -> None:
        self.num_done = 0
        self.commands: list[Any] = []

    async def pipeline(self, commands: Sequence[Any]) -> list[Any]:
        """Answer commands in one turn."""
        self.num_done += len(commands)
        self.commands += commands
        await asyncio.sleep(0)
        return [self._reply(*command) for command in commands]

    def _reply(self, name: str, *_arguments: Any) -> Any:
        match name:
            case "HMGET":
                return [label.encode() for label in LABELS.values()]
            case "GETRANGE":
                return VERSION
            case _:
                return {}


def states_of(num_collections: int) -> dict[int, ShardState]:
    """What the shards of a worker hold."""
    reports = [
        CollectionReport(f"u{number}", "{}", 5, 3, 7, b"") for number in range(num_collections)
    ]
    return {
        shard: ShardState(shard, f"r{shard}", "1-0", list(reports)) for shard in range(NUM_SHARDS)
    }


def most_in_a_turn(work: Callable[[], Awaitable[object]], num_done: Callable[[], int]) -> int:
    """The most that is done in one turn of the event loop, while others have turns too."""
    turns = [num_done()]

    async def watch() -> None:
        while True:
            turns.append(num_done())
            await asyncio.sleep(0)

    async def run() -> None:
        watching = asyncio.create_task(watch())
        await work()
        turns.append(num_done())
        watching.cancel()

    run_virtually(run())
    return max(after - before for before, after in pairwise(turns))


@pytest.mark.parametrize("what", ["statistics", "optimising", "counts"])
def test_redis_is_asked_about_a_few_collections_at_a_time(what: str) -> None:
    """With twice as many collections, there are more questions, and no longer ones."""

    def most(num_collections: int) -> int:
        server = Server()
        control = cast("RedisClient", server)
        uids = [f"u{number}" for number in range(num_collections)]

        async def ask() -> None:
            match what:
                case "statistics":
                    found = await StatisticsStore(control, KEYS).status(uids, NUM_SHARDS)
                    assert all(one.labels == LABELS and one.is_current for one in found.values())
                    assert list(found) == uids
                case "optimising":
                    status = await OptimisingStore(control, KEYS).status(uids)
                    assert list(status) == uids
                case _:
                    counts = {uid: number for number, uid in enumerate(uids)}
                    await Registry(control, KEYS).set_document_counts(3, counts, ["gone"])
                    sent = {(command[0], command[1]): command[2:] for command in server.commands}
                    wanted = {("HSET", KEYS.documents(uid)): (3, n) for uid, n in counts.items()}
                    assert sent == {**wanted, ("HDEL", KEYS.documents("gone")): (3,)}

        return most_in_a_turn(ask, lambda: server.num_done)

    assert most(1000) == most(2000)


def test_statistics_are_compared_in_turns_that_do_not_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With twice as many collections, a worker looks at no more at once, and at all of them."""
    seen: list[object] = []

    def counted(label: str | None, replica_id: str) -> int | None:
        seen.append(replica_id)
        return changes_of(label, replica_id)

    monkeypatch.setattr("hedgerow.shard_worker.control.jobs.changes_of", counted)

    def most(num_collections: int) -> int:
        seen.clear()
        states = states_of(num_collections)

        async def tick() -> None:
            applier = SimpleNamespace(
                states=states, busy=set(), withheld=frozenset(), applied_at={}
            )
            one = jobs.Jobs(
                cast("RedisClient", Server()), KEYS, cast("Any", applier), AsyncMock(), Settings()
            )
            one._num_shards = NUM_SHARDS
            one._tables = {report.uid: VERSION for report in states[0].collections}
            queues = AsyncMock()
            await one._tick(queues)
            assert not queues.enqueue.await_count

        longest = most_in_a_turn(tick, lambda: len(seen))
        assert len(seen) == NUM_SHARDS * num_collections
        return longest

    assert most(1500) == most(3000)


def test_summaries_are_looked_after_in_turns_that_do_not_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With twice as many collections, a worker looks at no more summaries at once."""
    num = {"now": 0, "due": 0}
    now, is_due = summaries.Seen.now, summaries.is_due

    def counted_now(*arguments: Any) -> summaries.Seen:
        num["now"] += 1
        return now(*arguments)

    def counted_due(*arguments: Any) -> bool:
        num["due"] += 1
        return is_due(*arguments)

    monkeypatch.setattr(summaries.Seen, "now", counted_now)
    monkeypatch.setattr(summaries, "is_due", counted_due)

    def most(num_collections: int, what: str) -> int:
        states = states_of(num_collections)
        store = AsyncMock()
        store.identity.return_value = "i"
        store.stamps.side_effect = lambda _uid, shards: dict.fromkeys(shards, b"i:x")
        replicas = SimpleNamespace(states=lambda: states, version=lambda _shard: (0, 0))

        async def look() -> None:
            maker = summaries.SummaryMaker(store, cast("Any", replicas))
            await maker.tick()
            num[what] = 0
            await maker.tick()  # the stamps are read now and then only
            assert num[what] == NUM_SHARDS * num_collections
            num[what] = 0

        return most_in_a_turn(look, lambda: num[what])

    for what in num:
        assert most(1500, what) == most(3000, what)
