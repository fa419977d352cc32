"""Scorers open a shard before it is searched."""

import asyncio
import time
from typing import cast

import pytest

from hedgerow.common.errors import ExpiredError, WorkError
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES, RankProfile
from hedgerow.common.wire.messages import unpack_search_payload
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskResult
from hedgerow.shard_worker.indexing.shard_report import CollectionReport, ShardState, pack_ids
from hedgerow.shard_worker.serving.served_profiles import ProfileSet, ServedProfiles
from hedgerow.shard_worker.serving.shard_state import ShardStates
from hedgerow.shard_worker.serving.warming import MOST_COLLECTIONS, Warming
from tests.support.virtual_time import run_virtually

MINE = RankProfile(second_phase="mine:score")


class Pool:
    """Scorers that note what they are to search."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[int, int, str, str]] = []  # shard, generation, uid, profile
        self.expires_at: list[float] = []
        self.num_at_once = 0
        self._error = error

    async def run_in_each(self, task: Task) -> list[TaskResult]:
        """See `ScorerPool.run_in_each`."""
        shard, generation, packed = task.payload
        payload = unpack_search_payload(packed)
        self.asked.append((shard, generation, payload.uid, payload.profile))
        self.expires_at.append(task.expires_at)
        self.num_at_once += 1
        await asyncio.sleep(0.01)
        self.num_at_once -= 1
        assert self.num_at_once == 0
        if self._error is not None and not isinstance(self._error, WorkError):
            raise self._error
        return [TaskResult(b"", 0, 0, 0, self._error)] * 2


def warm(pool: Pool, profiles: dict[str, RankProfile], *opened: ShardState) -> None:
    """Warm the scorers for shards that the worker has opened, all at the same time."""

    async def together() -> None:
        states = ShardStates()
        for state in opened:
            states.take(state)
        served = ServedProfiles(ProfileSet(profiles, cast("ScorerPool", pool), {}))
        warming = Warming(served, states)
        await asyncio.gather(*(warming.warm(state.shard) for state in opened))

    run_virtually(together())


def state_of(shard: int, **documents: int) -> ShardState:
    """A shard with collections of these numbers of documents; each has a generation of its own."""
    reports = [
        CollectionReport(uid, "{}", number, 100 + number, number, pack_ids([]))
        for uid, number in documents.items()
    ]
    return ShardState(shard, "r", "1-0", reports)


def test_each_scorer_searches_each_collection_as_it_is() -> None:
    """By a profile that runs none of the users' functions, however the profiles are ordered."""
    pool = Pool()
    warm(pool, {"mine": MINE, **BUILT_IN_PROFILES}, state_of(5, small=1, large=7))
    assert pool.asked == [(5, 107, "large", "bm25"), (5, 101, "small", "bm25")]


def test_shards_take_turns() -> None:
    """Scorers that are busy with one would not all be given a search in the other."""
    pool = Pool()
    warm(pool, BUILT_IN_PROFILES, state_of(5, some=7), state_of(6, some=8))
    assert pool.asked == [(5, 107, "some", "bm25"), (6, 108, "some", "bm25")]


def test_of_many_collections_the_largest_are_searched() -> None:
    """A shard of hundreds of collections does not wait for hundreds of searches."""
    pool = Pool()
    warm(pool, BUILT_IN_PROFILES, state_of(0, **{f"u{n}": n for n in range(3 * MOST_COLLECTIONS)}))
    expected = [f"u{n}" for n in range(3 * MOST_COLLECTIONS)][: -MOST_COLLECTIONS - 1 : -1]
    assert [uid for _, _, uid, _ in pool.asked] == expected


def test_nothing_waits_for_a_search_that_fails() -> None:
    """Scorers that are busy for long end it, and the shard is served all the same."""
    pool = Pool(ExpiredError("expired before a scorer was free"))
    warm(pool, BUILT_IN_PROFILES, state_of(0, some=1, more=2))
    assert len(pool.asked) == 2
    assert max(pool.expires_at) < time.monotonic() + 60.0


def test_a_fault_of_the_pool_is_not_hidden() -> None:
    """Only errors of the work itself are left out."""
    with pytest.raises(ZeroDivisionError):
        warm(Pool(ZeroDivisionError()), BUILT_IN_PROFILES, state_of(0, some=1))


@pytest.mark.parametrize("profiles", [{}, {"mine": MINE}, {"noop": BUILT_IN_PROFILES["noop"]}])
def test_a_worker_without_a_plain_profile_warms_nothing(profiles: dict[str, RankProfile]) -> None:
    """Users' functions are only called with queries that callers have sent."""
    pool = Pool()
    warm(pool, profiles, state_of(0, some=1))
    assert pool.asked == []
