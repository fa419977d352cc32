"""Which observers hear of a search's end, and when; by the real searcher in virtual time."""

import asyncio

import pytest

from hedgerow.common.errors import InsufficientCoverageError
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.search.ended_search import EndedSearch
from hedgerow.gateway.search.result import SearchQuery
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import COLLECTION, searcher_over

DEADLINE_S = 0.3
QUERY = SearchQuery("things", "x", fields=False, deadline_ms=DEADLINE_S * 1000)


def test_a_search_whose_caller_leaves_is_observed_too() -> None:
    """Each shard that was asked has a result by then, and the transport has forgotten the query."""
    transport = ScriptedTransport({0: Script()})
    seen: list[tuple[EndedSearch, int]] = []

    async def scenario() -> None:
        searcher = searcher_over(
            transport,
            [10, 10],
            observers=[lambda ended: seen.append((ended, transport.num_remembered))],
        )
        task = asyncio.create_task(searcher.search(QUERY, COLLECTION))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtually(scenario())
    ((ended, num_remembered),) = seen
    assert num_remembered == 0
    assert {shard: part.outcome for shard, part in ended.results.items()} == {
        0: Outcome.OK,
        1: Outcome.CANCELLED,
    }
    assert ended.search.query == QUERY
    assert ended.is_sampled
    assert ended.ended_at - ended.sent_at == pytest.approx(0.05)
    assert ended.sent_at < ended.ended_at < ended.deadline < DEADLINE_S + ended.sent_at


def test_the_breakers_know_before_the_observers_that_are_added() -> None:
    """These come last, one after the other, as docs/architecture.md and the class say."""
    transport = ScriptedTransport({0: Script(), 1: Script(delays_s=())})
    seen: list[tuple[str, int, int]] = []

    def note(name: str, ended: EndedSearch) -> None:
        breakers = ended.search.plan.breakers
        failures = [one.snapshot(ended.ended_at).consecutive_failures for one in breakers]
        seen.append((name, failures[0], failures[1]))

    async def scenario() -> None:
        searcher = searcher_over(
            transport,
            [10, 10],
            observers=[lambda ended: note("first", ended), lambda ended: note("second", ended)],
        )
        result = await searcher.search(QUERY, COLLECTION)
        assert result.outcomes[Outcome.TIMED_OUT] == 1

    run_virtually(scenario())
    assert seen == [("first", 0, 1), ("second", 0, 1)]


def test_a_search_that_is_not_sampled_tells_the_breakers_alone() -> None:
    """An observer that only learns is not called."""
    transport = ScriptedTransport({0: Script(delays_s=())})
    seen: list[EndedSearch] = []

    class Never:
        def takes(self, _now: float) -> bool:
            return False

    async def scenario() -> int:
        searcher = searcher_over(transport, [10], observers=[seen.append])
        searcher._scatter_gather._learning.sampler = Never()  # type: ignore[assignment] # takes no search
        with pytest.raises(InsufficientCoverageError):
            await searcher.search(QUERY, COLLECTION)
        breaker = searcher._guards.shared.breakers[0]
        return breaker.snapshot(asyncio.get_running_loop().time()).consecutive_failures

    assert run_virtually(scenario()) == 1
    assert seen == []
