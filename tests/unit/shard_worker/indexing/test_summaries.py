"""While a summary's stamp is valid, no replica has anything that the summary lacks."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.entries import START
from hedgerow.common.state.summaries import Stamped, is_claim, is_of
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.shard_report import CollectionReport, ShardState
from hedgerow.shard_worker.indexing.summaries import (
    CLAIM_S,
    LOOK_S,
    QUIET_S,
    Seen,
    SummarisedShards,
    SummaryMaker,
    is_due,
)
from tests.support.virtual_time import run_virtually

HERE = "server-1"
UID = "u1"


class Shared:
    """One shard: its log, its stamp and summary, and what each replica has."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.log: list[str | None] = []  # a word, or None for an entry of another collection
        self.stamp = b""
        self.summary = b""
        self.visible: dict[str, set[str]] = {}
        self.num_valid = 0

    async def step(self) -> None:
        """Let others go first, perhaps."""
        await asyncio.sleep(self.rng.choice([0.0, 0.001, 0.5, 3.0]))

    def check(self) -> None:
        """What is valid now says all that any replica has."""
        if is_of(self.stamp, HERE):
            self.num_valid += 1
            said = set(self.summary.decode().split())
            for name, words in self.visible.items():
                assert words <= said, (name, words - said)

    # As `summaries.Store`

    async def identity(self) -> str:
        """Always the same server."""
        return HERE

    async def stamps(self, uid: str, shards: Sequence[int]) -> dict[int, bytes]:
        """What it is at one moment."""
        await self.step()
        return dict.fromkeys(shards, self.stamp)

    async def claim(self, uid: str, shard: int, before: bytes, token: str) -> bool:
        """In one step."""
        return await self._swap(before, b"claim:" + token.encode())

    async def put(self, uid: str, shard: int, token: str, stamped: Stamped) -> bool:
        """In one step."""
        return await self._swap(b"claim:" + token.encode(), *stamped)

    async def retract(self, shard: int, uids: Iterable[str]) -> None:
        """In one step, after which its answer takes time."""
        await self.step()
        self.stamp = b""
        await self.step()

    async def _swap(self, before: bytes, after: bytes, summary: bytes = b"") -> bool:
        await self.step()
        is_done = self.stamp == before
        if is_done:
            self.stamp, self.summary = after, summary
            self.check()
        await self.step()
        return is_done


class Replica:
    """One replica, which follows the log and makes summaries; as `summaries.Replicas`."""

    def __init__(
        self,
        shared: Shared,
        name: str,
        turn: Callable[[int], AbstractAsyncContextManager[bool]] = lambda _: nullcontext(True),
    ) -> None:
        self.shared = shared
        self.position = self.changes = 0
        self.words = shared.visible.setdefault(name, set())
        self.maker = SummaryMaker(shared, self, rest=0.5, turn=turn)

    async def follow(self) -> None:
        """Apply the log, as `IndexerClient.apply` does."""
        while True:
            await self.shared.step()
            entries = self.shared.log[self.position : self.position + 2]
            words = {word for word in entries if word is not None}
            if words:
                await self.shared.retract(0, [UID])
            self.words |= words
            self.shared.check()
            await self.shared.step()
            self.changes += len(words)
            self.position += len(entries)

    def states(self) -> dict[int, ShardState]:
        """What it has recorded; it may have applied more."""
        report = CollectionReport(UID, "", len(self.words), 1, self.changes, b"")
        return {0: ShardState(0, "r", f"{self.position}-0", [report])}

    async def newest(self, shard: int) -> str:
        """As of one moment."""
        await self.shared.step()
        newest = f"{len(self.shared.log)}-0" if self.shared.log else START
        await self.shared.step()
        return newest

    def version(self, shard: int) -> tuple[int, int]:
        """There are no failovers."""
        return 0, 0

    async def summary(self, shard: int, uid: str) -> bytes:
        """Of the words that it has."""
        await self.shared.step()
        summary = " ".join(sorted(self.words)).encode() or b" "
        await self.shared.step()
        return summary


async def _run(seed: int) -> int:
    """Two replicas and a writer, until all is quiet; returns how often a stamp was valid."""
    shared = Shared(random.Random(seed))
    replicas = [Replica(shared, name) for name in ("one", "other")]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.follow()) for one in replicas]
        tasks += [group.create_task(one.maker.run()) for one in replicas]
        for number in range(12):
            await asyncio.sleep(shared.rng.choice([0.0, 0.2, 4.0, 20.0]))
            shared.log.append(shared.rng.choice([None, f"w{number}"]))
        await asyncio.sleep(CLAIM_S + LOOK_S + 100)
        for task in tasks:
            task.cancel()
    shared.check()
    assert is_of(shared.stamp, HERE)
    return shared.num_valid


@settings(max_examples=20, deadline=None)  # each of some thousand steps
@given(seed=st.integers(0, 2**32))
def test_no_replica_has_more_than_a_valid_summary_says(seed: int) -> None:
    """However the steps of two replicas, their makers and a writer interleave.

    In the end, there is a valid summary.
    """
    assert run_virtually(_run(seed))


@pytest.mark.parametrize(
    ("stamp", "quiet_s", "held_s", "due"),
    [
        (b"", QUIET_S, 0.0, True),
        (b"", QUIET_S / 2, 99.0, False),
        (f"{HERE}:1".encode(), 99.0, 99.0, False),
        (b"server-2:1", 99.0, 0.0, True),
        (b"claim:1", 99.0, CLAIM_S / 2, False),
        (b"claim:1", 99.0, CLAIM_S, True),
    ],
)
def test_a_summary_is_made_when_there_is_none_and_no_writes(
    stamp: bytes, quiet_s: float, held_s: float, *, due: bool
) -> None:
    """Nor another replica that makes it, unless that takes too long."""
    seen = Seen(changes=1, changed_at=100 - quiet_s, stamp=stamp, stamped_at=100 - held_s)
    assert is_due(seen, HERE, 100.0) == due
    assert is_claim(stamp) == stamp.startswith(b"claim")


def test_a_worker_without_documents_does_not_ask_the_server() -> None:
    """There is nothing to summarise."""

    class Empty(Replica):
        def states(self) -> dict[int, ShardState]:
            return {0: ShardState(0, "r", START, [])}

    class Asked(Shared):
        async def identity(self) -> str:
            raise AssertionError

    shared = Asked(random.Random(1))
    run_virtually(_tick(shared, Empty))


async def _tick(shared: Shared, replica: type[Replica]) -> None:
    await replica(shared, "one").maker.tick()


def test_a_summary_waits_for_its_turn() -> None:
    """While another worker of the machine makes one, the shard is not even claimed."""

    async def run() -> None:
        is_free = False
        shared = Shared(random.Random(1))
        maker = Replica(shared, "one", lambda _: nullcontext(is_free)).maker
        making = asyncio.create_task(maker.run())
        await asyncio.sleep(QUIET_S + 20)
        assert shared.stamp == b""
        is_free = True
        await asyncio.sleep(20)
        assert is_of(shared.stamp, HERE)
        making.cancel()

    run_virtually(run())


def test_shards_that_are_not_searched_yet_are_not_summarised() -> None:
    """Summaries of a split's target would not be read, and making them takes CPU time."""
    held = {0: ShardState(0, "r", "1-0", []), 1: ShardState(1, "r", "1-0", [])}

    class Held:
        """An applier that knows two shards, of which it withholds one."""

        states = held
        withheld = frozenset({1})

        def progress(self) -> dict[str, object]:
            return {"set_aside": {}}

    is_needed = False
    shards = SummarisedShards(
        cast("RedisClient", SimpleNamespace(data=None)),
        Keys("k"),
        cast("Applier", Held()),
        cast("IndexerClient", None),
        1000,
        is_needed=lambda: is_needed,
    )
    assert shards.states() == {}
    is_needed = True
    assert shards.states() == {0: held[0]}
