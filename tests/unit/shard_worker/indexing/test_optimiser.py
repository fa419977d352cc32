"""When a worker optimises an index, and when it tries again."""

import asyncio
from collections.abc import AsyncIterator
from unittest.mock import AsyncMock, Mock

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import RedisUnavailableError, WorkError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.optimising import Optimising, OptimisingStore
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.optimiser import (
    FIRST_PAUSE_S,
    MOST_PAUSE_S,
    Attempts,
    Optimiser,
)
from hedgerow.shard_worker.indexing.shard_report import CollectionReport, ShardState, pack_ids
from tests.support.virtual_time import run_virtually


@given(st.integers(1, 40), st.integers(0, 10**6))
def test_each_failure_waits_for_longer_and_none_for_ever(failures: int, started: int) -> None:
    """A collection that is always written to costs less and less, and is not given up."""
    attempts, pauses, now = Attempts(), [], float(started)
    for _ in range(failures):
        attempts = attempts.after_failure(now)
        pauses.append(attempts.next_at - now)
        now = attempts.next_at
    assert attempts.num_failed == failures
    assert pauses == sorted(pauses)
    assert pauses[0] == FIRST_PAUSE_S
    assert pauses[-1] == min(MOST_PAUSE_S, FIRST_PAUSE_S * 2 ** (failures - 1))


def test_a_replica_waits_until_it_has_done_what_was_last_asked() -> None:
    """One that has done it for an earlier request is to do it again; without one, none is."""
    standing = Optimising(1000, {"done": 1000, "before": 900})
    assert [standing.is_waiting(one) for one in ("done", "before", "new")] == [False, True, True]
    assert not Optimising().is_waiting("any")


class Bench:
    """An optimiser over a scripted applier and board; `asked` has when the applier was asked."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.errors: list[WorkError] = []
        self.board = AsyncMock(spec=OptimisingStore)
        self.board.status.return_value = {"u": Optimising(1000, {})}
        self.applier = Mock(spec=Applier)
        self.applier.states = {
            0: ShardState(0, "r", "1-0", [CollectionReport("u", "{}", 9, 1, 9, pack_ids([]))])
        }
        self.applier.busy, self.applier.withheld, self.applier.applied_at = set(), frozenset(), {}
        self.applier.optimise = self._optimise
        control = Mock(spec=RedisClient)
        control.events = self._events
        tell = AsyncMock()
        self.optimiser = Optimiser(control, Keys(), self.applier, Settings(), tell)
        self.optimiser._store = self.board

    async def _optimise(self, _shard: int, _uid: str) -> bool:
        self.asked.append(asyncio.get_running_loop().time())
        if self.errors:
            raise self.errors.pop()
        return True

    async def _events(self, _channel: str) -> AsyncIterator[bytes]:
        await asyncio.sleep(10**6)
        yield b""

    def run_for(self, duration_s: float) -> None:
        """Run it in virtual time, from 100 s on."""

        async def scenario() -> None:
            await asyncio.sleep(100.0)
            running = asyncio.create_task(self.optimiser.run())
            await asyncio.sleep(duration_s)
            running.cancel()
            await asyncio.wait([running])

        run_virtually(scenario())


def test_what_redis_did_not_hear_of_is_told_again_and_not_done_again() -> None:
    """An index takes minutes of work; that it is done takes one command."""
    bench = Bench()
    bench.board.set_done.side_effect = [
        RedisUnavailableError("away"),
        RedisUnavailableError(""),
        None,
    ]
    bench.run_for(60.0)
    assert len(bench.asked) == 1
    assert bench.board.set_done.await_count >= 3
    assert all(call.args == ("u", "r", 1000) for call in bench.board.set_done.await_args_list)


def test_what_failed_is_tried_later_and_later() -> None:
    """At each look the time is asked, and nothing is reported as done before it is."""
    bench = Bench()
    bench.errors = [WorkError("disk full")] * 3
    bench.run_for(60.0)
    starts = [at - bench.asked[0] for at in bench.asked]
    assert len(starts) == 4
    for start, least in zip(starts, (0, 2, 6, 14), strict=True):
        assert least <= start <= least + 4  # a look a second


def test_a_shard_that_is_written_to_is_left_alone() -> None:
    """It waits until the shard is quiet for a second, and has all writes of the log."""
    for name, value in (("busy", {0}), ("withheld", frozenset({0})), ("applied_at", {0: 10**6})):
        bench = Bench()
        setattr(bench.applier, name, value)
        bench.run_for(30.0)
        assert bench.asked == [], name
        bench.board.set_done.assert_not_awaited()
