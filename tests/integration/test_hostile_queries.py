"""One caller's bad and costly queries, on real processes: no other caller loses a shard."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import pytest

from hedgerow.common.errors import BadRequestError, InsufficientCoverageError
from hedgerow.common.query.cost import Cost
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.policies.breaker import State
from tests.support.clusters import Cluster, all_live, ask, cluster_of_its_own, load
from tests.support.servers import DURABLE
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NUM_SHARDS = 2
PATIENT_MS = 20_000.0
DOCUMENTS: list[dict[str, Any]] = [
    {"id": f"d{number}", "title": f"hedge number {number}", "tag": "*\\", "number": number}
    for number in range(200)
]
# What was misread on its way to the index: bounds that are empty, or that another parser takes for
# syntax.
AWKWARD = ["id:<\\", "id:>\\", "tag:[\\* TO \\\\]", "tag:{\\ a TO *}", "id:<\\]", "tag:\\**"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two shards on one worker with one scorer: what holds that holds everything."""
    with cluster_of_its_own(*DURABLE, num_shards=NUM_SHARDS, num_workers=1) as cluster:
        yield cluster


@asynccontextmanager
async def gateway_with(cluster: Cluster, limits: QuerySettings) -> AsyncIterator[Gateway]:
    """A gateway with limits of its own, to a cluster that holds the documents."""
    settings = cluster.settings.model_copy(update={"query": limits})
    async with Gateway.connect(settings, num_shards=NUM_SHARDS) as gateway:
        await all_live(gateway)
        await load(gateway, "hedges", DOCUMENTS)
        yield gateway


def states(gateway: Gateway) -> set[State]:
    """The states of all breakers."""
    now = asyncio.get_running_loop().time()
    return {breaker.state(now) for breaker in gateway._guards.shared.breakers}


async def beside_a_normal_client(
    gateway: Gateway, attack: Callable[[], Coroutine[Any, Any, None]]
) -> list[float]:
    """The coverage of a normal client's answers, one after the other, during an attack."""
    attacking = asyncio.create_task(attack())
    fractions: list[float] = []
    while not attacking.done() or len(fractions) < 3:
        result = await ask(gateway, "hedges", "hedge number", deadline_ms=PATIENT_MS)
        fractions.append(result.coverage.fraction)
        assert states(gateway) == {State.CLOSED}
    await attacking
    return fractions


@pytest.mark.parametrize("num_queries", [5, 50])
async def test_awkward_queries_are_answered(cluster: Cluster, num_queries: int) -> None:
    """Empty bounds and the like are answered by every shard, or refused before any is asked."""
    async with gateway_with(cluster, QuerySettings()) as gateway:

        async def attack() -> None:
            for number in range(num_queries):
                query = AWKWARD[number % len(AWKWARD)]
                with contextlib.suppress(BadRequestError):
                    result = await ask(gateway, "hedges", query, deadline_ms=PATIENT_MS)
                    assert result.coverage.is_full

        assert set(await beside_a_normal_client(gateway, attack)) == {1.0}


@pytest.mark.parametrize("num_queries", [5, 50])
async def test_queries_that_only_the_scorers_refuse_are_the_callers_fault(
    cluster: Cluster, num_queries: int
) -> None:
    """The caller gets 400 and the scorer's reason; breakers stay closed, others are answered."""
    async with gateway_with(cluster, QuerySettings()) as gateway:
        # As if the gateway knew a field that the indexes do not have yet.
        with patch("hedgerow.gateway.search.validation.check_filter", return_value=Cost()):

            async def attack() -> None:
                for number in range(num_queries):
                    with pytest.raises(BadRequestError, match="does not fit the index"):
                        await ask(
                            gateway,
                            "hedges",
                            "hedge",
                            filter=f"nope{number}:x",
                            deadline_ms=PATIENT_MS,
                        )

            assert set(await beside_a_normal_client(gateway, attack)) == {1.0}


async def test_costly_queries_are_refused_and_cost_the_others_nothing(cluster: Cluster) -> None:
    """Hundreds of fuzzy words are a 400 that names the limit; no scorer sees them."""
    async with gateway_with(cluster, QuerySettings()) as gateway:

        async def attack() -> None:
            for number in range(50):
                words = " ".join(f"x{chr(97 + place % 26)}{number}~2" for place in range(500))
                with pytest.raises(BadRequestError, match="max_fuzzy_edits"):
                    await ask(gateway, "hedges", words)

        assert set(await beside_a_normal_client(gateway, attack)) == {1.0}


async def test_heavy_queries_that_run_over_open_no_breaker(cluster: Cluster) -> None:
    """Ten that each hold the only scorer until it is killed; then all is as before."""
    # By this setting the query is heavy; what holds the scorer is a second phase that never ends.
    async with gateway_with(cluster, QuerySettings(heavy_ms=1e-6)) as gateway:
        for number in range(10):
            with pytest.raises(InsufficientCoverageError):
                await ask(
                    gateway,
                    "hedges",
                    f"hedge spin {number}",
                    rank_profile="numbers",
                    deadline_ms=100.0,
                )
            assert states(gateway) == {State.CLOSED}

        async def is_whole() -> bool:
            result = await ask(gateway, "hedges", "hedge", deadline_ms=2000.0)
            return result.coverage.is_full

        await until(is_whole)
        assert states(gateway) == {State.CLOSED}
