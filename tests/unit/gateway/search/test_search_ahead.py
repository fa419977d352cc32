"""A search by a caller below its fair share, beside another who has reached the limit."""

import asyncio

from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.gateway.access.caller import Caller
from hedgerow.gateway.search.result import SearchQuery
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import COLLECTION, searcher_over

LIMIT = AdmissionSettings().initial_limit


def test_who_is_below_its_share_goes_ahead_in_the_shards_queues() -> None:
    """Its request is put ahead of what waits; those of the caller that fills the limit are not."""

    async def scenario() -> set[int]:
        transport = ScriptedTransport({0: Script(delays_s=(0.1,))})
        searcher = searcher_over(transport, [10])

        def search(name: str) -> asyncio.Task[object]:
            query = SearchQuery(
                collection=COLLECTION.name,
                query="x",
                k=5,
                deadline_ms=300,
                fields=False,
                caller=Caller(name),
            )
            return asyncio.create_task(searcher.search(query, COLLECTION))

        tasks = [search("noisy") for _ in range(LIMIT)]
        await asyncio.sleep(0.01)
        tasks.append(search("modest"))
        await asyncio.gather(*tasks)
        return transport.ahead

    assert run_virtually(scenario()) == {LIMIT + 1}
