"""Second copies, sent by the real searcher over scripted shards in virtual time."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import pytest

from hedgerow.common.errors import InsufficientCoverageError
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.tail import HedgingSettings
from hedgerow.common.wire.messages import Kind
from hedgerow.gateway.policies.hedging import HedgeCounts
from hedgerow.gateway.search.hedger import Hedger
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.searcher import Searcher
from tests.support.garbage import left_to_collector
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import COLLECTION, FixedView, searcher_over

USUAL_S = 0.010
NUM_SHARDS = 4


@dataclass
class Scene:
    """A searcher that has learnt how long its shards need, and its transport."""

    transport: ScriptedTransport
    searcher: Searcher

    @property
    def view(self) -> FixedView:
        """What the searcher knows of the cluster."""
        view = self.searcher._view
        assert isinstance(view, FixedView)
        return view

    async def search(self, deadline_ms: float = 300.0, **changes: Any) -> SearchResult:
        """Search once, detailed."""
        query = SearchQuery(
            "things", "x", fields=False, explain=True, deadline_ms=deadline_ms, **changes
        )
        return await self.searcher.search(query, COLLECTION)

    def slow(self, shard: int, delay_s: float | None, hedge_s: float | None) -> None:
        """Set how long the first copy takes from now on, and the second; None for never."""
        self.transport.scripts[shard] = Script(delays_s=() if delay_s is None else (delay_s,))
        if hedge_s is not None:
            self.transport.hedge_scripts[shard] = Script(delays_s=(hedge_s,))


async def learnt(num_live: int = 2, **settings: Any) -> Scene:
    """After enough queries that every shard has answered in the usual time."""
    transport = ScriptedTransport(
        {shard: Script(delays_s=(USUAL_S,)) for shard in range(NUM_SHARDS)}
    )
    searcher = searcher_over(
        transport, [10] * NUM_SHARDS, num_live=num_live, hedging=HedgingSettings(**settings)
    )
    scene = Scene(transport, searcher)
    for _ in range(100):
        await scene.search()
    assert transport.hedged == []
    return scene


def test_a_second_copy_saves_a_query_from_one_slow_worker() -> None:
    """It leaves once the shard is late, its reply counts, and the first copy is cancelled."""

    async def scenario() -> tuple[Scene, SearchResult, float]:
        scene = await learnt()
        scene.slow(2, None, hedge_s=USUAL_S)
        started = asyncio.get_running_loop().time()
        result = await scene.search()
        await asyncio.sleep(0)
        return scene, result, asyncio.get_running_loop().time() - started

    scene, result, took_s = run_virtually(scenario())
    assert result.coverage.is_full
    assert 2 * USUAL_S < took_s < 4 * USUAL_S
    ((shard, _, request),) = scene.transport.hedged
    assert shard == 2
    assert request.hedge is not None
    assert (request.hedge.shard, request.hedge.workers) == (2, ["w0", "w1"])
    assert [(detail.hedged_us > 0, detail.is_hedge) for detail in result.detail] == [
        (shard == 2, shard == 2) for shard in range(NUM_SHARDS)
    ]
    ((query_id, shards, _),) = scene.transport.cancelled
    assert (query_id, shards) == (request.query_id, (2,))
    assert scene.searcher.hedger.counts == (1, 1, 0, 0)


@pytest.mark.parametrize(("hedge_s", "counts"), [(None, (1, 0, 1, 0)), (0.1, (1, 0, 0, 1))])
def test_a_first_copy_that_answers_after_all_counts(
    hedge_s: float | None, counts: tuple[int, ...]
) -> None:
    """The second is taken off its queue; if a worker has it already, it is cancelled there."""

    async def scenario() -> tuple[Scene, SearchResult]:
        scene = await learnt()
        scene.slow(1, 3 * USUAL_S, hedge_s)
        result = await scene.search()
        await asyncio.sleep(0.2)
        return scene, result

    scene, result = run_virtually(scenario())
    assert result.coverage.is_full
    assert [detail.is_hedge for detail in result.detail] == [False] * NUM_SHARDS
    assert scene.searcher.hedger.counts == counts
    assert len(scene.transport.cancelled) == counts[3]


def test_nothing_is_hedged_while_a_shard_is_backed_up() -> None:
    """A request that still waits in its queue gets no second copy, however long it waits."""

    async def scenario() -> tuple[Scene, SearchResult]:
        scene = await learnt()
        scene.slow(0, None, hedge_s=USUAL_S)
        scene.transport.queued = {0}
        return scene, await scene.search()

    scene, result = run_virtually(scenario())
    assert scene.transport.hedged == []
    assert result.outcomes[Outcome.TIMED_OUT] == 1


def test_looks_do_not_multiply() -> None:
    """Of a query whose shards become due one by one, one look is to come at a time.

    A shard's wait doubles from 20 ms, its delay, to 10 s: some nine looks find it due. Were there a
    look to come for each shard, each would bring the next of all of them.
    """

    async def scenario() -> tuple[int, list[int]]:
        scene = await learnt()
        for shard in range(NUM_SHARDS):
            scene.slow(shard, None, None)
        scene.transport.queued = set(range(NUM_SHARDS))
        with (
            patch.object(Hedger, "_look_at", autospec=True, side_effect=Hedger._look_at) as look,
            patch.object(scene.transport, "ask_queue", side_effect=is_queued) as ask,
            pytest.raises(InsufficientCoverageError),
        ):
            await scene.search(deadline_ms=10_000)
        asked = Counter(call.args[1] for call in ask.call_args_list)
        return look.call_count, [asked[shard] for shard in range(NUM_SHARDS)]

    num_looks, asked = run_virtually(scenario())
    assert all(8 <= num <= 10 for num in asked)
    assert num_looks < 2 * sum(asked)


def is_queued(_kind: Kind, shard: int, _message: bytes, on_answer: Callable[[bool], None]) -> None:
    """Each shard's request is queued, and each one's answer comes 3 ms after the one before."""
    asyncio.get_running_loop().call_later(0.003 * (shard + 1), on_answer, True)


def test_a_request_that_is_taken_late_is_hedged_then() -> None:
    """The queue is asked again, so that a request which a worker takes and loses is not missed."""

    async def scenario() -> tuple[Scene, SearchResult]:
        scene = await learnt()
        scene.slow(0, None, hedge_s=USUAL_S)
        scene.transport.queued = {0}
        asyncio.get_running_loop().call_later(0.05, scene.transport.queued.clear)
        return scene, await scene.search()

    scene, result = run_virtually(scenario())
    assert [shard for shard, _, _ in scene.transport.hedged] == [0]
    assert result.coverage.is_full


@pytest.mark.parametrize(
    ("num_live", "settings"), [(1, {}), (2, {"max_extra_load": 0.0})], ids=["lone", "off"]
)
def test_what_cannot_help_is_not_sent(num_live: int, settings: dict[str, Any]) -> None:
    """No second copy where one worker alone serves the shard, nor where hedging is off."""

    async def scenario() -> Scene:
        scene = await learnt(num_live, **settings)
        scene.slow(3, None, hedge_s=USUAL_S)
        await scene.search()
        return scene

    assert run_virtually(scenario()).transport.hedged == []


@pytest.mark.parametrize("leaves_after_s", [0.008, 0.1])
def test_a_caller_who_leaves_during_the_fetch_ends_its_second_copies(leaves_after_s: float) -> None:
    """None is sent for a caller that has left, and each that was sent has come to an end."""

    async def scenario() -> tuple[ScriptedTransport, HedgeCounts]:
        document = {"d1": {"id": "d1"}}
        script = Script(hits=(("d1", 1.0),), fetch=document)
        transport = ScriptedTransport({0: script})
        searcher = searcher_over(transport, [10], num_live=2)
        query = SearchQuery("things", "x", deadline_ms=1000.0)
        for _ in range(100):
            await searcher.search(query, COLLECTION)
        transport.scripts[0] = replace(script, fetch_delay_s=None)
        transport.hedge_scripts[0] = Script(delays_s=())  # a worker has it, and does not answer
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(USUAL_S + leaves_after_s):
                await searcher.search(query, COLLECTION)
        await asyncio.sleep(2.0)
        return transport, searcher.fetcher.hedger.counts

    transport, counts = run_virtually(scenario())
    num_sent = 0 if leaves_after_s < USUAL_S else 1
    assert len(transport.hedged) == num_sent
    assert counts == HedgeCounts(sent=num_sent, lost_while_running=num_sent)


def test_a_second_copy_that_died_with_its_worker_is_sent_again() -> None:
    """The workers of both copies are gone; the third is answered; every copy is counted once."""

    async def scenario() -> tuple[Scene, SearchResult]:
        scene = await learnt(burst=1)
        scene.slow(2, None, hedge_s=None)
        searching = asyncio.create_task(scene.search(deadline_ms=2000.0))
        await asyncio.sleep(0.05)
        assert [shard for shard, _, _ in scene.transport.hedged] == [2]
        scene.view.num_live[2] = 1
        scene.view.died_at[2] = asyncio.get_running_loop().time()
        scene.slow(2, None, hedge_s=USUAL_S)
        return scene, await searching

    scene, result = run_virtually(scenario())
    assert result.coverage.is_full
    assert result.took_ms < 150
    assert len(scene.transport.hedged) == 2
    assert scene.searcher.hedger.counts == HedgeCounts(sent=2, won=1, lost_while_running=1)


def test_a_death_in_a_cluster_that_has_learnt_nothing_costs_a_quarter_of_the_deadline() -> None:
    """What the dead worker had is asked of the other one, at the first query of all."""

    async def scenario() -> SearchResult:
        transport = ScriptedTransport({0: Script(delays_s=())})
        transport.hedge_scripts[0] = Script(delays_s=(USUAL_S,))
        searcher = searcher_over(transport, [10], num_live=2)
        scene = Scene(transport, searcher)
        searching = asyncio.create_task(scene.search(deadline_ms=1000.0))
        await asyncio.sleep(0.1)
        scene.view.num_live[0] = 1
        scene.view.died_at[0] = asyncio.get_running_loop().time()
        return await searching

    result = run_virtually(scenario())
    assert result.coverage.is_full
    assert 250 <= result.took_ms < 300


def test_a_spent_budget_stops_second_copies_and_no_first() -> None:
    """A shard that is slow for everybody costs at most the set share of extra requests."""

    async def scenario() -> tuple[Scene, int]:
        scene = await learnt(burst=2)
        first = len(scene.transport.scattered)
        scene.slow(1, 0.1, hedge_s=0.1)
        for _ in range(200):
            result = await scene.search()
            assert result.coverage.is_full
        return scene, len(scene.transport.scattered) - first

    scene, num_queries = run_virtually(scenario())
    assert num_queries == 200
    assert 2 < len(scene.transport.hedged) <= 2 + 0.05 * num_queries * NUM_SHARDS


def test_who_found_the_budget_spent_is_hedged_once_it_is_filled() -> None:
    """Two shards are late at once and there is one token: the other copy leaves with the next."""

    async def scenario() -> tuple[Scene, SearchResult]:
        scene = await learnt(burst=1)
        scene.slow(1, None, hedge_s=USUAL_S)
        scene.slow(2, None, hedge_s=USUAL_S)
        slow = asyncio.create_task(scene.search())
        await asyncio.sleep(3 * USUAL_S)
        assert len(scene.transport.hedged) == 1
        scene.searcher.hedger.policy.budget.add(20)  # what other queries bring
        return scene, await slow

    scene, result = run_virtually(scenario())
    assert result.coverage.is_full
    assert sorted(shard for shard, _, _ in scene.transport.hedged) == [1, 2]


def test_enough_ends_the_wait_and_the_rest_is_cancelled() -> None:
    """With `wait_for`, one missing shard of four is not waited for once three have answered."""

    async def scenario() -> tuple[Scene, SearchResult]:
        scene = await learnt(max_extra_load=0.0)
        scene.slow(3, None, hedge_s=None)
        return scene, await scene.search(wait_for=0.75)

    scene, result = run_virtually(scenario())
    assert result.took_ms == pytest.approx(USUAL_S * 1000, abs=1)
    assert result.outcomes[Outcome.CANCELLED] == 1
    assert result.coverage.degraded == {"enough": 1}
    assert result.coverage.fraction == 0.75
    assert [shards for _, shards, _ in scene.transport.cancelled] == [(3,)]


def test_what_is_not_enough_is_waited_for_to_the_deadline() -> None:
    """With `wait_for` above what answers, the answer comes at the deadline with what there is."""

    async def scenario() -> SearchResult:
        scene = await learnt(max_extra_load=0.0)
        scene.slow(2, None, hedge_s=None)
        scene.slow(3, None, hedge_s=None)
        return await scene.search(wait_for=0.75)

    result = run_virtually(scenario())
    assert result.took_ms > 290
    assert result.outcomes[Outcome.TIMED_OUT] == 2


@pytest.mark.parametrize(
    ("delay_s", "hedge_s"), [(None, USUAL_S), (3 * USUAL_S, None), (None, None), (None, 0.1)]
)
def test_a_search_that_is_looked_at_leaves_no_cycle(
    delay_s: float | None, hedge_s: float | None
) -> None:
    """Nothing of a late search is left to the garbage collector, which would stop the gateway.

    With replicas, a quarter of the searches at half load are late enough to be looked at.
    """

    async def scenario() -> list[object]:
        scene = await learnt()
        scene.slow(2, delay_s, hedge_s)
        await scene.search()  # learns; whatever is made once exists now
        await asyncio.sleep(1.0)
        with left_to_collector() as left:
            await scene.search()
            await asyncio.sleep(1.0)  # until the looks that were to come have found it answered
        return left

    assert run_virtually(scenario()) == []
