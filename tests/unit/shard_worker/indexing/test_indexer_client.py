"""Each command to the indexer: what is asked for, and what the answer is read as."""

import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.collection import define, with_added_fields
from hedgerow.common.errors import RedisUnavailableError, WorkError
from hedgerow.common.query.shard_summary import unpack_summary
from hedgerow.common.query.word_frequencies import unpack_frequencies
from hedgerow.common.shard_log.entries import START
from hedgerow.common.shard_log.operations import Create, Delete, Mirror, Upsert, pack_op
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskResult
from hedgerow.shard_worker.indexing import indexer, shard_indexer
from hedgerow.shard_worker.indexing.background_thread import NICER_BY, Priority
from hedgerow.shard_worker.indexing.commands import Command, unpack_command
from hedgerow.shard_worker.indexing.indexer import Indexer, IndexerConfig, make_indexer
from hedgerow.shard_worker.indexing.indexer_client import FrozenCollection, IndexerClient
from hedgerow.shard_worker.storage.term_statistics import FieldStatistics, Statistics, pack

BOOKS = define("books", {"fields": {"title": "text"}}, "u0")
WIDER = with_added_fields(BOOKS, {"year": "integer"})
OPS = [pack_op(Create(BOOKS.to_json())), pack_op(Upsert("u0", [("a", b'{"id":"a","title":"x"}')]))]


class InProcess:
    """Runs commands in this process; notes which."""

    def __init__(self, data: Path) -> None:
        self.indexer: Indexer = make_indexer(IndexerConfig(str(data)))
        self.commands: list[Command] = []
        self.labels: list[str] = []

    async def run(self, work: Task) -> TaskResult:
        """Run one."""
        budget: Any = None  # nothing asks for it
        self.commands.append(unpack_command(work.payload)[0])
        self.labels.append(work.identity.label)
        return TaskResult(self.indexer(work.payload, budget), 0, 0, 0, None)


async def test_a_shard_is_written_to_copied_and_optimised_by_every_command(tmp_path: Path) -> None:
    """The indexer process knows each command, and each answer has the type that is promised."""
    process = InProcess(tmp_path)
    client = IndexerClient(process)
    assert (await client.open(0)).position == START
    assert [one.uid for one in (await client.define(0, [BOOKS.to_json()])).collections] == ["u0"]
    assert (await client.apply(0, "1-0", OPS)).position == "1-0"
    assert (await client.reindex(0, "u0", ["a"])).collections[0].documents == 1
    assert await client.statistics(0, "gone") == b""
    assert unpack_summary(await client.summary(0, "u0", 1000)).documents == 1
    assert unpack_summary(await client.summary(0, "gone", 1000)).documents == 0
    total = await client.sum([await client.statistics(0, "u0")])
    await client.write_table("u0", total.statistics)
    assert unpack_frequencies(total.words).documents == 1
    assert (tmp_path / "statistics" / "u0.sqlite").exists()
    assert await client.unbalanced("u0", [0]) == [0]
    assert (await client.balance(0, "u0")).position == "1-0"
    assert await client.begin_optimising(0, "u0") is None
    while (finished := await client.optimise(0, "u0")) is None:
        pass
    assert finished.position == "1-0"
    assert (await client.begin_optimising(0, "gone")) is not None
    assert (await client.define(0, [WIDER.to_json()])).collections[0].missing == ["year"]
    assert await client.begin_filling(0, "u0") is None
    while (filled := await client.fill(0, "u0")) is None:
        pass
    assert (filled.collections[0].missing, filled.collections[0].indexed) == ([], 2)
    assert (await client.begin_filling(0, "gone")) is not None
    assert (await client.begin_graphs(0, "u0", is_quiet=True)) is not None
    with pytest.raises(WorkError, match="dropped"):
        await client.build_graphs(0, "u0")
    frozen = await client.freeze(0, str(tmp_path / "copy"))
    assert frozen.position == "1-0"
    assert frozen.collections == (FrozenCollection("u0", WIDER.to_json(), 1),)
    while not await client.is_frozen(0):
        pass
    await client.thaw(0)
    await client.remove_table("u0")
    assert not (tmp_path / "statistics" / "u0.sqlite").exists()
    begun = await client.begin_clone(1, str(tmp_path / "shards" / "0"), 2, Priority.IDLE)
    assert begun.position == "1-0"
    while not (await client.clone(1)).is_made:
        pass
    await client.place_clone(1)
    await client.end_clone(1)
    assert (await client.open(1)).replica_id == begun.replica_id
    await client.release(0)
    await client.release(1)
    assert set(process.commands) == set(Command)
    assert process.labels[0] == "open 0"


async def test_a_late_command_does_not_make_a_released_shard_again(tmp_path: Path) -> None:
    """The indexer closes it, and later commands fail without reaching it, until it is opened."""
    process = InProcess(tmp_path)
    client = IndexerClient(process)
    await client.open(0)
    await client.apply(0, "1-0", OPS)
    await client.release(0)
    shutil.rmtree(tmp_path / "shards" / "0")
    with pytest.raises(WorkError, match="let go of shard 0"):
        await client.balance(0, "u0")
    await client.release(0)  # as one that is sent again after a crash of the indexer
    assert not (tmp_path / "shards" / "0").exists()
    assert (await client.open(0)).position == START
    await client.release(0)


async def test_only_indexes_that_may_not_fit_the_table_are_named(tmp_path: Path) -> None:
    """Not for another sum with the same averages, but after a write, and for other averages."""
    process = InProcess(tmp_path)
    client = IndexerClient(process)
    for shard in (0, 1, 2):
        await client.open(shard)
        await client.apply(shard, "1-0", OPS)
    await client.release(2)
    assert await client.unbalanced("u0", [0, 1, 2]) == []  # there is no table

    async def fit(*words: int) -> list[int]:
        """Write a table by the words of each document; returns which shards were fitted."""
        counted = {"title": FieldStatistics(sum(words), {})}
        await client.write_table("u0", pack(Statistics(len(words), counted)))
        named = found = await client.unbalanced("u0", [0, 1, 2])
        while found:
            for shard in found:
                await client.balance(shard, "u0")
            found = await client.unbalanced("u0", [0, 1, 2])
        return named

    assert await fit(1, 1) == [0, 1]
    assert await fit(1, 1, 1) == []
    longer = Upsert("u0", [("b", b'{"id":"b","title":"x y z"}')])
    await client.apply(1, "2-0", [pack_op(longer)])
    assert await fit(1, 1) == [1]
    assert await fit(1, 1, 3) == [0, 1]
    assert await client.unbalanced("gone", [0, 1]) == []
    process.indexer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one value for a process")
@pytest.mark.parametrize("priority", [Priority.OF_PROCESS, Priority.NICER, Priority.IDLE])
async def test_statistics_and_summaries_are_made_with_the_priority_of_that_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, priority: Priority
) -> None:
    """Nothing that writes to an index is, since a writer's threads would keep it."""
    seen: dict[str, tuple[int, int]] = {}

    def priority_here() -> tuple[int, int]:
        thread = threading.get_native_id()
        return os.getpriority(os.PRIO_PROCESS, thread), os.sched_getscheduler(thread)

    def watch(module: object, name: str) -> None:
        call = getattr(module, name)

        def watched(*arguments: object) -> object:
            seen[name] = priority_here()
            return call(*arguments)

        monkeypatch.setattr(module, name, watched)

    for name in ("collect", "summary_of", "balance"):
        watch(shard_indexer, name)
    for name in ("pack_sum", "write_table"):
        watch(indexer, name)
    now = Priority.NICER if priority is Priority.IDLE else Priority.IDLE
    process = InProcess(tmp_path)
    client = IndexerClient(process, upkeep=lambda: now)
    await client.open(0)
    await client.apply(0, "1-0", OPS)
    part = await client.statistics(0, "u0")
    longer = Upsert("u0", [("b", b'{"id":"b","title":"x y z"}')])
    await client.apply(0, "2-0", [pack_op(longer)])
    now = priority
    total = await client.sum([await client.statistics(0, "u0"), part])
    await client.summary(0, "u0", 1000)
    await client.write_table("u0", total.statistics)
    await client.balance(0, "u0")
    process.indexer.close()
    nice, policy = priority_here()
    nicer = nice if priority is Priority.OF_PROCESS else min(nice + NICER_BY, 19)
    there = nicer, os.SCHED_IDLE if priority is Priority.IDLE else policy
    made = ("collect", "summary_of", "pack_sum", "write_table")
    assert seen == {**dict.fromkeys(made, there), "balance": (nice, policy)}


def test_an_unknown_command_is_refused(tmp_path: Path) -> None:
    """It names the command, and no shard is opened for it."""
    budget: Any = None
    with pytest.raises(ValueError, match="burn"):
        make_indexer(IndexerConfig(str(tmp_path)))(b"\x92\xa4burn\x00", budget)
    assert list(tmp_path.iterdir()) == []


async def test_summaries_are_retracted_before_documents_are_added(tmp_path: Path) -> None:
    """Of the collections that are named; nothing is applied if that fails; not for deletions."""
    process, retracted = InProcess(tmp_path), list[tuple[int, set[str], bool]]()
    is_away = False

    async def retract(shard: int, uids: set[str], is_mirrored: bool) -> None:
        retracted.append((shard, uids, is_mirrored))
        if is_away:
            raise RedisUnavailableError("away")

    client = IndexerClient(process, retract)
    await client.open(0)
    await client.define(0, [BOOKS.to_json()])
    await client.apply(0, "1-0", [pack_op(Delete("u0", ["a"]))])
    assert retracted == []
    await client.apply(0, "2-0", [pack_op(Upsert("u0", [("a", b"{}")]))])
    assert retracted == [(0, {"u0"}, False)]
    await client.apply(0, "3-0", [pack_op(Mirror("m", "u0", "u1"))])
    assert retracted[1:] == [(0, set(), True)]
    is_away = True
    with pytest.raises(RedisUnavailableError):
        await client.apply(0, "4-0", [pack_op(Upsert("u0", [("b", b"{}")]))])
    with pytest.raises(RedisUnavailableError):
        await client.reindex(0, "u0", ["a"])
    assert (await client.open(0)).position == "3-0"
    await client.release(0)
