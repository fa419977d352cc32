"""Searches that end by an error leave nothing to the garbage collector, which stops the gateway."""

import asyncio
from contextlib import suppress
from typing import Any, cast

import pytest
from msgspec.structs import replace

from hedgerow.common.collection import Collection
from hedgerow.common.errors import HedgerowError, OverloadedError
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.common.wire.search_options import Slip
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.steps import SearchSteps
from hedgerow.gateway.shapes.answer import TotalHits
from tests.support.garbage import left_by_its_caller, left_to_collector
from tests.support.sample_results import make_result
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import COLLECTION, FixedView, searcher_over

QUERY = SearchQuery(COLLECTION.name, "x", fields=False, deadline_ms=300)
LIMIT = AdmissionSettings().initial_limit


@pytest.mark.parametrize("after_s", [0.0, 0.01])
def test_a_search_whose_caller_leaves_leaves_no_cycle(after_s: float) -> None:
    """Callers that leave are common, and each would leave 70 objects."""

    async def leave() -> None:
        transport = ScriptedTransport({0: Script(delays_s=(0.1,))})
        searcher = searcher_over(transport, [10])
        await left_by_its_caller(searcher.search(QUERY, COLLECTION), after_s)
        await asyncio.sleep(1.0)

    async def scenario() -> list[object]:
        await leave()  # whatever is made once exists now
        with left_to_collector() as left:
            await leave()
        return [one for one in left if isinstance(one, BaseException)]

    assert run_virtually(scenario()) == []


def test_a_search_whose_caller_leaves_while_words_are_corrected_leaves_no_cycle() -> None:
    """Nor does one that asks for its misspelt words, several at once."""
    slip = Slip("pandsa", "_text", 0, (("panda", 30), ("pandas", 3)))

    class Slow:
        fetcher = None

        async def search(self, query: SearchQuery, _collection: Collection) -> SearchResult:
            if query.did_you_mean:
                return make_result(total_hits=TotalHits(0, "eq"), slips=(slip,))
            await asyncio.sleep(10)
            raise AssertionError

    async def leave(steps: SearchSteps) -> None:
        query = replace(QUERY, query="pandsa", did_you_mean=True)
        await left_by_its_caller(steps.search(query, COLLECTION), 0.1)
        await asyncio.sleep(0.1)

    async def scenario() -> list[object]:
        steps = SearchSteps(cast("Any", Slow()), FixedView([10]), QuerySettings())
        await leave(steps)
        with left_to_collector() as left:
            await leave(steps)
        return [one for one in left if isinstance(one, BaseException)]

    assert run_virtually(scenario()) == []


def test_a_search_that_is_refused_leaves_no_cycle() -> None:
    """Overload is no time for the collector; a batch may be refused a hundred searches at once."""

    async def scenario() -> list[object]:
        transport = ScriptedTransport({0: Script(delays_s=(0.1,))})
        searcher = searcher_over(transport, [10])
        others = [asyncio.create_task(searcher.search(QUERY, COLLECTION)) for _ in range(LIMIT)]
        await asyncio.sleep(0.01)
        with left_to_collector() as left, pytest.raises(OverloadedError):
            await searcher.search(QUERY, COLLECTION)
        with suppress(HedgerowError):
            await asyncio.gather(*others)
        return [one for one in left if isinstance(one, BaseException)]

    assert run_virtually(scenario()) == []
