"""Deletes by query through a real cluster."""

import asyncio
from typing import Any

import pytest

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryBody
from tests.support.clusters import ask, cluster_of_its_own, gateway_to, load_into
from tests.support.waiting import until

pytestmark = pytest.mark.integration

COUNT = 2400


def documents() -> list[dict[str, Any]]:
    """Two thirds have the word, and half are even."""
    return [
        {"id": f"d{n}", "title": "amber" if n % 3 else "other", "n": n % 2} for n in range(COUNT)
    ]


async def found(gateway: Gateway, query: str) -> int:
    """How many documents match."""
    result = await ask(gateway, "things", query, k=1, fields=False)
    assert result.total_hits.relation == "eq"
    return result.total_hits.value


async def test_deletes_by_query() -> None:
    """More than one search finds are deleted, and no others; a dead shard's stay, and are named."""
    with cluster_of_its_own(num_shards=2, num_workers=2) as cluster:
        async with gateway_to(cluster) as gateway:
            fields = {"title": "text", "n": "integer"}
            await gateway.collections.put("things", {"fields": fields})
            await load_into(gateway, "things", documents())
            amber = sum(one["title"] == "amber" for one in documents())
            even = sum(one["title"] == "amber" and not one["n"] for one in documents())
            run = gateway.delete_by_query.run
            for query in ("title:(", "titel:amber"):
                with pytest.raises(BadRequestError):
                    await run("things", DeleteByQueryBody(query))
            counted = await run("things", DeleteByQueryBody("amber", "n:0", dry_run=True))
            assert (counted.found.value, counted.found.relation) == (even, "eq")
            assert await found(gateway, "amber") == amber
            some = await run("things", DeleteByQueryBody("amber", "n:0", limit=100))
            assert (some.found.value, some.deleted, some.complete) == (even, 100, False)
            rest = await run("things", DeleteByQueryBody("amber", "n:0"))
            assert (rest.deleted, rest.complete, rest.reason) == (even - 100, True, None)
            assert await found(gateway, "amber") == amber - even
            assert await found(gateway, "other") == COUNT - amber

            await asyncio.to_thread(cluster.kill, 1)
            await until(lambda: not all(gateway._membership.live))
            partial = await run("things", DeleteByQueryBody("amber"))
            assert 0 < partial.deleted < amber - even
            assert not partial.complete
            assert [one.shard for one in partial.missing_shards] == [1]
            cluster.start(1)
            await until(lambda: all(gateway._membership.live))
            assert await found(gateway, "amber") == amber - even - partial.deleted
            assert (await run("things", DeleteByQueryBody("*"))).complete
            assert await found(gateway, "*") == 0
