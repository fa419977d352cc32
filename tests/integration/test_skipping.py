"""Shards that cannot have a match are not asked, and no document is ever missed for it."""

import asyncio
from typing import Any

import pytest

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchResult
from tests.support.clusters import all_live, ask, cluster_of_its_own, load

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NUM_SHARDS = 4
NUM_WRITES = 12
DOCUMENTS: list[dict[str, Any]] = [
    {"id": f"d{number}", "text": f"a common word, number{number}", "price": number}
    for number in range(200)
]


async def test_no_write_that_another_gateway_acknowledged_is_skipped() -> None:
    """Each document is found at once through a gateway that has skipped its shard before.

    Two replicas of each shard apply the writes, at their own pace.
    """
    with cluster_of_its_own(num_shards=NUM_SHARDS, num_workers=2, num_replicas=2) as cluster:
        async with (
            Gateway.connect(cluster.settings, num_shards=NUM_SHARDS) as one,
            Gateway.connect(cluster.settings, num_shards=NUM_SHARDS) as other,
        ):
            await all_live(one)
            await all_live(other)
            await load(one, "goods", DOCUMENTS)
            rare = await _until_skipping(one, "number7", 3)
            nowhere = await _until_skipping(one, "absent", 4)
            cheap = await ask(one, "goods", "common", filter="price:<=-1")
            partial = await _until_exact(one, "number7 common", rare.hits[0].shard)
            for number in range(NUM_WRITES):
                # The next one may be written while the summary of the one before is being made.
                word, document_id = f"new{number}", f"n{number}"
                # By chance, a summary may not exclude a word that the shard lacks.
                await _until_skipping(one, word, NUM_SHARDS - 1 if number % 3 == 0 else 0)
                await load(other, "goods", [{"id": document_id, "text": word, "price": -number}])
                found = await ask(one, "goods", word)
                assert [hit.id for hit in found.hits] == [document_id]
                assert found.outcomes[Outcome.SKIPPED] + found.outcomes[Outcome.OK] == NUM_SHARDS
            cheaper = await ask(one, "goods", "new1 new2", filter="price:<=-1")
    assert [hit.id for hit in rare.hits] == ["d7"]
    assert rare.outcomes == {**dict.fromkeys(Outcome, 0), Outcome.OK: 1, Outcome.SKIPPED: 3}
    assert (rare.coverage.fraction, rare.coverage.is_full) == (1.0, True)
    assert rare.coverage.documents == rare.coverage.documents_total == len(DOCUMENTS)
    assert (rare.total_hits.value, rare.total_hits.relation, rare.detail) == (1, "eq", [])
    assert (nowhere.hits, nowhere.outcomes[Outcome.SKIPPED]) == ([], NUM_SHARDS)
    assert cheap.outcomes[Outcome.SKIPPED] == NUM_SHARDS
    # The document with both words is first, whatever the missing shard has.
    assert [hit.id for hit in partial.hits] == ["d7"]
    assert partial.outcomes[Outcome.BREAKER_OPEN] == 1
    bound = partial.coverage.bound
    assert isinstance(bound, float)
    assert 0 < bound < partial.hits[0].score
    assert {hit.id for hit in cheaper.hits} == {"n1", "n2"}


async def _until_skipping(gateway: Gateway, query: str, least: int) -> SearchResult:
    """Ask until at least this number of shards is skipped."""
    async with asyncio.timeout(120):  # workers rest as long as summaries take on a busy machine
        while True:
            found = await ask(gateway, "goods", query)
            if found.outcomes[Outcome.SKIPPED] >= least:
                return found
            await asyncio.sleep(0.05)


async def _until_exact(gateway: Gateway, query: str, needed: int) -> SearchResult:
    """Ask for one hit without another shard than `needed`, until the answer is exact."""
    missing = (needed + 1) % NUM_SHARDS
    gateway.set_breaker(missing, "forced_open")
    try:
        async with asyncio.timeout(120):
            while True:
                found = await ask(gateway, "goods", query, k=1)
                assert not found.coverage.is_full
                if found.coverage.exact is True:
                    return found
                await asyncio.sleep(0.05)
    finally:
        gateway.set_breaker(missing, "closed")
