"""Workers count an announced load at once, sum it once, and answer when they rank by it."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.events import Loaded, Ranked
from hedgerow.common.state.statistics import StatisticsStatus, StatisticsStore, label_of, version_of
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.load_statistics import GIVE_UP_S, LoadStatistics
from hedgerow.shard_worker.indexing.shard_report import CollectionReport, ShardState, pack_ids
from tests.support.virtual_time import run_virtually

NUM_SHARDS = 4
END = "9-0"

entry_ids = st.tuples(st.integers(0, 2**40), st.integers(0, 9)).map(
    lambda one: "{}-{}".format(*one)
)


@given(st.text("0123456789abcdef", min_size=1), st.dictionaries(st.integers(0, 99), entry_ids))
def test_events_are_read_as_they_were_written(token: str, ends: dict[int, str]) -> None:
    """A load comes out as it went in, and is no answer; other events are neither."""
    ends = ends or {0: START}
    loaded, ranked = Loaded(token, "uid", ends), Ranked(token, ["r1", "r2"])
    assert Loaded.unpack(loaded.pack().encode()) == loaded
    assert Ranked.unpack(ranked.pack().encode()) == ranked
    assert Loaded.unpack(ranked.pack().encode()) is None
    assert Ranked.unpack(loaded.pack().encode()) is None
    malformed = (b"loaded:t:u:", b"loaded:t:u:0=x", b"loaded:t:u:x=1-0", b"loaded:t:u:0")
    for other in (b"statistics", b"applied:3", b"quarantine:1:2:3:4", b"\xff", *malformed):
        assert Loaded.unpack(other) is None is Ranked.unpack(other)


class Board:
    """The board's part in this, in memory, shared by all workers."""

    def __init__(self) -> None:
        self.labels: dict[int, str] = {}
        self.positions: dict[int, str] = {}
        self.version = b""
        self.claimed = b""
        self.answers: list[str] = []
        self.num_reads = 0

    async def status(self, uids: Any, _num_shards: int) -> dict[str, StatisticsStatus]:
        """What labels and version there are."""
        self.num_reads += 1
        return {uid: StatisticsStatus(dict(self.labels), self.version) for uid in uids}

    async def missing(self, _uid: str, ends: Mapping[int, str]) -> set[int]:
        """Shards whose position is before an end."""
        return {
            shard
            for shard, end in ends.items()
            if position(self.positions.get(shard, START)) < position(end)
        }

    async def put_position(self, _uid: str, shard: int, entry_id: str) -> None:
        """Take a position."""
        self.positions[shard] = entry_id

    async def claim_sum(self, _uid: str, version: bytes) -> bool:
        """Whether it was not this version that was claimed last."""
        before, self.claimed = self.claimed, version
        return before != version

    async def announce(self, event: str) -> None:
        """Take an answer."""
        self.answers.append(event)


class Worker:
    """A worker of two shards, which has applied the log up to `END`."""

    def __init__(self, board: Board, *shards: int, changes: int = 100) -> None:
        self.board = board
        self.summed: list[bytes] = []
        self.table = b""
        report = CollectionReport("u", "{}", 100, 1, changes, pack_ids([]))
        self.states = {shard: ShardState(shard, f"r{shard}", END, [report]) for shard in shards}
        self.loads = LoadStatistics(
            store=cast("StatisticsStore", board),
            applier=cast("Applier", SimpleNamespace(states=self.states)),
            is_ours=self._is_ours,
            collect=self._collect,
            add_up=self._add_up,
        )

    async def _is_ours(self, shard: int, _label: str | None, _now: float) -> bool:
        return shard in self.states

    async def _collect(self, _uid: str, shard: int) -> None:
        state = self.states[shard]
        self.board.labels[shard] = label_of(state.replica_id, state.collections[0].changes)
        self.board.positions[shard] = state.position

    async def _add_up(self, _uid: str) -> None:
        self.board.version = version_of(self.board.labels)
        self.summed.append(self.board.version)

    async def turn(self) -> None:
        """One turn, as `Jobs` takes it: count, write the table of a new sum, answer."""
        await self.loads.count(NUM_SHARDS)
        self.table = self.board.version
        await self.loads.answer({"u"}, {"u": self.table}, NUM_SHARDS)


def two_workers(board: Board, **options: int) -> tuple[Worker, Worker]:
    """Workers of all four shards, which have heard of a load."""
    workers = Worker(board, 0, 1, **options), Worker(board, 2, 3, **options)
    for worker in workers:
        assert worker.loads.take(Loaded("t", "u", dict.fromkeys(range(4), END)).pack().encode())
    return workers


def test_a_worker_asks_nothing_about_shards_that_it_does_not_have() -> None:
    """While it waits for other workers to count theirs, labels are not read again and again."""

    async def scenario() -> None:
        board = Board()
        first, _ = two_workers(board)
        await first.turn()
        before = board.num_reads
        await first.turn()
        assert board.num_reads == before

    run_virtually(scenario())


def test_the_last_worker_sums_and_then_all_answer() -> None:
    """Nothing is summed before all shards are counted, nor twice; each worker answers once."""

    async def scenario() -> None:
        board = Board()
        first, second = two_workers(board)
        await first.turn()
        assert (first.summed, board.answers) == ([], [])
        await second.turn()
        await first.turn()
        await first.turn()
        assert (len(first.summed), len(second.summed)) == (0, 1)
        assert board.version == version_of({shard: f"r{shard}:100" for shard in range(4)})
        assert board.answers == [Ranked("t", ["r2", "r3"]).pack(), Ranked("t", ["r0", "r1"]).pack()]

    run_virtually(scenario())


@pytest.mark.parametrize(("changes", "is_collected"), [(102, False), (103, True)])
def test_few_changes_are_left_to_the_interval(changes: int, *, is_collected: bool) -> None:
    """Up to 2 % of a shard's documents are not collected, and the load is answered all the same."""

    async def scenario() -> None:
        board = Board()
        for worker in two_workers(board):
            await worker.turn()
        before, board.positions, board.answers = dict(board.labels), {}, []
        workers = two_workers(board, changes=changes)
        for worker in (*workers, *workers):
            await worker.turn()
        assert (board.labels != before) is is_collected
        assert len(board.answers) == 2

    run_virtually(scenario())


def test_a_sum_that_another_worker_makes_is_left_to_it() -> None:
    """Of two workers that find all shards counted at once, one sums."""

    async def scenario() -> None:
        board = Board()
        first, second = two_workers(board)
        board.positions = dict.fromkeys(range(4), END)
        board.labels = {shard: f"r{shard}:100" for shard in range(4)}
        await board.claim_sum("u", version_of(board.labels))
        await first.turn()
        await second.turn()
        assert (first.summed, second.summed, board.answers) == ([], [], [])

    run_virtually(scenario())


def test_a_worker_without_the_collection_answers() -> None:
    """A collection that was dropped holds no load back."""

    async def scenario() -> None:
        board = Board()
        worker, _ = two_workers(board)
        await worker.loads.answer(set(), {}, NUM_SHARDS)
        assert board.answers == [Ranked("t", ["r0", "r1"]).pack()]

    run_virtually(scenario())


def test_loads_that_cannot_be_counted_are_forgotten() -> None:
    """When a shard's worker never comes, the others stop looking after a while."""

    async def scenario() -> None:
        board = Board()
        worker, late = two_workers(board)
        await worker.turn()
        await asyncio.sleep(GIVE_UP_S)
        await worker.loads.count(NUM_SHARDS)
        await late.turn()
        await worker.turn()
        assert Ranked("t", ["r0", "r1"]).pack() not in board.answers

    run_virtually(scenario())


def test_a_worker_that_has_yet_to_write_the_table_does_not_answer() -> None:
    """The sum alone is not enough: searches rank by the table."""

    async def scenario() -> None:
        board = Board()
        for worker in two_workers(board):
            await worker.turn()
        board.answers = []
        late = Worker(board, 0, 1)
        late.loads.take(Loaded("t", "u", {0: END}).pack().encode())
        await late.loads.answer({"u"}, {"u": b"an older sum"}, NUM_SHARDS)
        assert board.answers == []
        await late.loads.answer({"u"}, {"u": board.version}, NUM_SHARDS)
        assert board.answers == [Ranked("t", ["r0", "r1"]).pack()]

    run_virtually(scenario())


def test_a_sum_of_before_the_load_is_not_taken_for_one_of_after_it() -> None:
    """Shards that are counted while a worker looks are not in the sum that it ranks by."""

    async def scenario() -> None:
        board = Board()
        board.labels = {shard: f"r{shard}:1" for shard in range(4)}
        board.version = version_of(board.labels)
        worker, other = two_workers(board)
        before = board.version
        missing = board.missing

        async def count_meanwhile(uid: str, ends: Mapping[int, str]) -> set[int]:
            for one in (worker, other):
                for shard in one.states:
                    await one._collect(uid, shard)
            return await missing(uid, ends)

        with patch.object(board, "missing", count_meanwhile):
            await worker.loads.answer({"u"}, {"u": before}, NUM_SHARDS)
        assert board.answers == []

    run_virtually(scenario())


def test_a_load_that_is_announced_meanwhile_has_the_next_turn() -> None:
    """It ends no turn under way, and is counted after it."""

    async def scenario() -> None:
        board = Board()
        worker, other = two_workers(board)
        status = board.status

        async def hear_meanwhile(uids: Any, num_shards: int) -> dict[str, StatisticsStatus]:
            found = await status(list(uids), num_shards)
            worker.loads.take(Loaded("later", "v", {3: END}).pack().encode())
            return found

        with patch.object(board, "status", hear_meanwhile):
            await worker.loads.count(NUM_SHARDS)
        await other.turn()
        await worker.turn()
        assert Ranked("t", ["r0", "r1"]).pack() in board.answers

    run_virtually(scenario())
