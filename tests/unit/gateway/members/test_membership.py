"""The view of the cluster, from heartbeats at a given time."""

import asyncio
import math
from dataclasses import replace
from unittest.mock import AsyncMock, Mock

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.collection import define, with_added_fields
from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.common.wire.search_options import LEVEL
from hedgerow.gateway.members.membership import Membership
from hedgerow.gateway.shapes.collection import Filling
from tests.support.virtual_time import run_virtually
from tests.unit.support.heartbeats import beat

EXPIRY_S = 2.0
NUM_SHARDS = 6


def view() -> Membership:
    """A view that has seen nothing."""
    return Membership(Mock(spec=Registry), NUM_SHARDS, EXPIRY_S, 0.1, lambda: 0, list)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, NUM_SHARDS - 1), unique=True), st.integers(0, 5000)),
        max_size=5,
    )
)
def test_a_shard_is_live_exactly_while_one_of_its_workers_is_fresh(
    workers: list[tuple[list[int], int]],
) -> None:
    """Live means: some heartbeat younger than the expiry names the shard."""
    now_ms = 5000
    heartbeats = {
        f"w{number}": beat(f"w{number}", shards, at_ms)
        for number, (shards, at_ms) in enumerate(workers)
    }
    membership = view()
    membership.take(heartbeats, {}, now_ms, 0.0)
    for shard in range(NUM_SHARDS):
        fresh = [at_ms for shards, at_ms in workers if shard in shards and now_ms - at_ms < 2000]
        assert membership.live[shard] == bool(fresh)
        assert len(membership.replicas_of(shard)) == len(fresh)


def _registry() -> AsyncMock:
    """One whose clock was never set back."""
    registry = AsyncMock(spec=Registry)
    registry.dated.side_effect = lambda heartbeats, _now_ms: heartbeats
    return registry


def test_what_redis_lacks_is_said_if_no_worker_is_live() -> None:
    """A server that is full refuses heartbeats; if one arrives, another worker is missing."""
    lacks = ["100 MB of 100 MB are used"]
    membership = Membership(
        Mock(spec=Registry),
        NUM_SHARDS,
        EXPIRY_S,
        0.1,
        lambda: 0,
        list,
        server_shortage=lambda: "; ".join(lacks),
    )
    membership.take({"a": beat("a", [0], 0)}, {}, 1_000, 0.0)
    assert membership.no_worker == "no live worker"
    membership.take({"a": beat("a", [0], 0)}, {}, 60_000, 0.0)
    assert membership.no_worker == "no live worker (redis: 100 MB of 100 MB are used)"
    lacks.clear()
    membership.take({"a": beat("a", [0], 0)}, {}, 60_001, 0.0)
    assert membership.no_worker == "no live worker"


def test_only_replicas_that_can_answer_count() -> None:
    """A load waits for a replica that catches up, not for one with a gap; neither one serves."""
    heartbeats = {
        "whole": beat("whole", [0], 0),
        "behind": replace(beat("behind", [0, 1], 0), shards=[1], behind=[0]),
        "gap": replace(beat("gap", [0], 0), shards=[], gaps=[0]),
    }
    membership = view()
    membership.take(heartbeats, {}, 0, 0.0)
    assert membership.replicas_of(0) == {"replica of 0 at whole", "replica of 0 at behind"}
    assert [membership.num_replicas(shard) for shard in range(3)] == [1, 1, 0]


def test_counts_outlive_their_worker() -> None:
    """What a shard last reported still counts in the total when no worker serves it any more."""
    membership = view()
    membership.take({}, {"u1": {0: 7, 3: 2}}, 0, 0.0)
    assert membership.live == [False] * NUM_SHARDS
    assert membership.counts_of("u1") == [7, None, None, 2, None, None]
    assert membership.counts_of("unheard-of") == [None] * NUM_SHARDS


def test_only_the_long_dead_are_forgotten() -> None:
    """A heartbeat of yesterday is removed from Redis; one that has only just expired stays."""
    now_ms = 10**12
    registry = _registry()
    registry.heartbeats.return_value = {
        "live": beat("live", [0], now_ms - 100),
        "expired": beat("expired", [1], now_ms - 60_000),
        "long dead": beat("long dead", [2], now_ms - 24 * 3_600_000),
    }
    registry.document_counts_of.return_value = {}
    membership = Membership(registry, NUM_SHARDS, EXPIRY_S, 0.25, lambda: now_ms, list)
    run_virtually(membership.refresh())
    registry.forget_worker.assert_awaited_once_with("long dead")


def test_the_age_of_a_view_is_that_of_the_last_look_that_succeeded() -> None:
    """A look that fails, or that hangs, leaves the view as old as it is."""
    registry = _registry()
    registry.heartbeats.return_value = {}
    registry.document_counts_of.return_value = {}
    membership = Membership(registry, NUM_SHARDS, EXPIRY_S, 0.25, lambda: 0, list)

    async def scenario() -> None:
        now = asyncio.get_running_loop().time
        assert membership.age_s(now()) == math.inf
        running = asyncio.create_task(membership.run())
        await asyncio.sleep(10)
        assert membership.age_s(now()) <= 0.25
        registry.heartbeats.side_effect = RedisUnavailableError("it is away")
        await asyncio.sleep(5)
        assert 5 <= membership.age_s(now()) <= 5.25
        registry.heartbeats.side_effect = asyncio.Event().wait
        await asyncio.sleep(5)
        assert 10 <= membership.age_s(now()) <= 10.25
        running.cancel()
        await asyncio.wait([running])

    run_virtually(scenario())


def test_a_worker_that_rests_is_offered_nothing_and_keeps_its_shard_live() -> None:
    """It gets no second copies, and its shards stay live."""
    membership = view()
    membership.take({"a": beat("a", [0, 1], 0), "b": beat("b", [0], 0)}, {}, 0, 0.0)
    membership.ejected = frozenset("a")
    assert (membership.workers_of(0), membership.workers_of(1)) == (["b"], [])
    assert membership.num_live[:2] == [2, 1]
    assert membership.live[:2] == [True, True]


def test_a_death_is_dated_when_it_is_noticed() -> None:
    """A worker that is gone, silent, or another process: its shards; not one that only beats on."""
    membership = view()
    membership.take({"a": beat("a", [0, 1], 0), "b": beat("b", [1, 2], 0)}, {}, 0, 1.0)
    assert set(membership.died_at) == {-math.inf}
    again = replace(beat("a", [0, 1], 100), started_at_ms=3)  # its clock knows better now
    membership.take({"a": again, "b": beat("b", [1, 2], 100)}, {}, 100, 2.0)
    assert set(membership.died_at) == {-math.inf}
    membership.take({"a": replace(again, pid=4712), "b": beat("b", [1, 2], 100)}, {}, 100, 3.0)
    assert membership.died_at[:3] == [3.0, 3.0, -math.inf]
    late_ms = round(EXPIRY_S * 1000) + 100
    membership.take({"b": beat("b", [1, 2], 100)}, {}, late_ms, 4.0)
    assert membership.died_at[:3] == [4.0, 4.0, 4.0]
    membership.take(
        {"b": replace(beat("b", [1], late_ms), started_at_ms=late_ms)}, {}, late_ms, 5.0
    )
    assert membership.died_at[:3] == [4.0, 4.0, 4.0]
    membership.take({}, {}, late_ms, 6.0)
    assert membership.died_at[:3] == [4.0, 6.0, 4.0]


def test_a_worker_that_joins_may_have_served_more_than_was_known_of_it() -> None:
    """Its requests are watched, and its death is one of all shards that it has turned out to have.

    They are in its last heartbeat, or in that of the process which has taken its name since.
    """
    membership = view()
    serving, joining = beat("a", [0, 1, 2], 0), replace(beat("b", [], 0), joins=True)
    membership.take({"a": serving}, {}, 0, 1.0)
    assert not membership.has_replicas
    membership.take({"a": serving, "b": joining}, {}, 0, 2.0)
    assert membership.has_replicas
    restarted = replace(joining, pid=4712, stored=[1])
    membership.take({"a": serving, "b": restarted}, {}, 0, 3.0)
    assert membership.died_at[:3] == [-math.inf, 3.0, -math.inf]
    last, late_ms = replace(restarted, shards=[1, 2]), round(EXPIRY_S * 1000) + 100
    membership.take({"a": replace(serving, beat_at_ms=late_ms), "b": last}, {}, late_ms, 4.0)
    assert membership.died_at[:3] == [-math.inf, 4.0, 4.0]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=4))
def test_searches_ask_for_documents_once_every_live_worker_understands(
    workers: list[tuple[bool, bool]],
) -> None:
    """One live worker of an older version is enough; one that is gone does not count."""
    now_ms = 5000
    heartbeats = {
        f"w{number}": replace(beat(f"w{number}", [0], now_ms if is_live else 0), attaches=attaches)
        for number, (attaches, is_live) in enumerate(workers)
    }
    membership = view()
    membership.take(heartbeats, {}, now_ms, 0.0)
    assert membership.attaches == all(attaches for attaches, is_live in workers if is_live)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=4))
def test_the_oldest_live_worker_decides_which_options_a_search_may_have(
    workers: list[tuple[int, bool]],
) -> None:
    """A worker that is gone does not count; without any, nothing is sent anyway."""
    now_ms = 5000
    heartbeats = {
        f"w{number}": replace(beat(f"w{number}", [0], now_ms if is_live else 0), search_options=one)
        for number, (one, is_live) in enumerate(workers)
    }
    membership = view()
    membership.take(heartbeats, {}, now_ms, 0.0)
    levels = [one for one, is_live in workers if is_live]
    assert membership.search_options == min(levels, default=LEVEL)


def test_the_filling_is_that_of_the_newest_heartbeats_and_definition() -> None:
    """It is summed up once for each view, and only of a collection that has been given fields."""
    first = define("c", {"fields": {"title": "text"}}, uid="u")
    wider = with_added_fields(first, {"year": "integer"})
    membership = view()
    worker = replace(beat("w", [0], 1000), indexed={0: {"u": 1}})
    membership.take({"w": worker}, {}, 1000, 1.0)
    assert membership.filling_of(first) is None
    assert membership.filling_of(wider) == Filling(["year"], 0.0, 1)
    assert membership.filling_of(wider) is membership.filling_of(wider)
    widest = with_added_fields(wider, {"day": "date"})
    assert membership.filling_of(widest) == Filling(["year", "day"], 0.0, 1)
    membership.take({"w": replace(worker, indexed={0: {"u": 3}})}, {}, 1000, 1.0)
    assert membership.filling_of(widest) is None


def test_what_was_being_filled_when_a_worker_died_is_not_filled() -> None:
    """Its heartbeat ages, or is removed; either way, nothing of the shard is searched."""
    wider = with_added_fields(
        define("c", {"fields": {"title": "text"}}, uid="u"), {"year": "integer"}
    )
    membership = view()
    worker = replace(beat("w", [0], 1000), indexed={0: {"u": 1}})
    membership.take({"w": worker}, {}, 1000, 1.0)
    membership.take({"w": worker}, {}, 9000, 9.0)
    assert membership.filling_of(wider) == Filling(["year"], 0.0, 1)
    membership.take({}, {}, 9000, 9.0)
    assert membership.filling_of(wider) == Filling(["year"], 0.0, 1)
    back = replace(beat("w", [0], 10_000), indexed={0: {"u": 2}})
    membership.take({"w": back}, {}, 10_000, 10.0)
    assert membership.filling_of(wider) is None


def test_calls_share_a_read_that_began_after_them() -> None:
    """Of ten calls during a read, none is satisfied by it, and the next one serves all of them."""

    async def scenario() -> None:
        num_begun = 0

        async def heartbeats() -> dict[str, Heartbeat]:
            nonlocal num_begun
            num_begun += 1
            await asyncio.sleep(1.0)
            return {}

        registry = _registry()
        registry.heartbeats.side_effect = heartbeats
        registry.document_counts_of.return_value = {}
        membership = Membership(registry, NUM_SHARDS, EXPIRY_S, 0.1, lambda: 0, list)
        first = asyncio.create_task(membership.read_again())
        await asyncio.sleep(0.5)
        others = [asyncio.create_task(membership.read_again()) for _ in range(10)]
        await first
        assert not any(other.done() for other in others)
        await asyncio.gather(*others)
        assert num_begun == 2

    run_virtually(scenario())


def test_shards_are_ranked_by_what_all_their_live_workers_rank_by() -> None:
    """A shard without a worker is ranked by the newest statistics when it has one."""
    ranking = replace(beat("w0", [0, 1], 0), statistics={"u": "0a"}, bounds_scores=True)
    heartbeats = {
        "w0": ranking,
        "w1": replace(ranking, id="w1", shards=[1, 2], statistics={"u": "0b"}),
        "w2": replace(ranking, id="w2", shards=[3], bounds_scores=False),
        "w3": replace(ranking, id="w3", shards=[4], beat_at_ms=-5000, statistics={}),
    }
    membership, collection = view(), define("c", {}, uid="u")
    membership.take(heartbeats, {}, 0, 0.0)
    found = [membership.ranks_by(collection, [shard], b"\x0a") for shard in range(NUM_SHARDS)]
    assert found == [True, False, False, False, True, True]
    assert membership.ranks_by(collection, [0, 4], b"\x0a")
    assert not membership.ranks_by(collection, [0, 1], b"\x0a")
