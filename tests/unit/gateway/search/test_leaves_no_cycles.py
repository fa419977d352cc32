"""Searches that end by an error leave nothing to the garbage collector, which stops the gateway."""

import asyncio
from contextlib import suppress

import pytest

from hedgerow.common.errors import HedgerowError, OverloadedError
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.gateway.search.result import SearchQuery
from tests.support.garbage import left_to_collector
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import COLLECTION, searcher_over

QUERY = SearchQuery(COLLECTION.name, "x", fields=False, deadline_ms=300)
LIMIT = AdmissionSettings().initial_limit


@pytest.mark.parametrize("after_s", [0.0, 0.01])
def test_a_search_whose_caller_leaves_leaves_no_cycle(after_s: float) -> None:
    """Callers that leave are common, and each would leave 70 objects."""

    async def leave() -> None:
        transport = ScriptedTransport({0: Script(delays_s=(0.1,))})
        task = asyncio.create_task(searcher_over(transport, [10]).search(QUERY, COLLECTION))
        await asyncio.sleep(after_s)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(1.0)

    async def scenario() -> list[object]:
        await leave()  # whatever is made once exists now
        with left_to_collector() as left:
            await leave()
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
