"""Second copies over real workers: a stopped or slow replica costs no query its coverage."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from hedgerow.common.errors import InsufficientCoverageError
from hedgerow.common.settings.tail import HedgingSettings, ProbationSettings
from hedgerow.gateway.gateway import Gateway
from tests.support.clusters import Cluster, all_live, ask, cluster_of_its_own, load
from tests.support.waiting import until

# Alone: slow and usual replies differ by milliseconds.
pytestmark = [pytest.mark.integration, pytest.mark.alone]

DOCUMENTS: list[dict[str, Any]] = [
    {"id": f"d{number}", "title": f"hedge number {number} late", "number": number}
    for number in range(40)
]
NUM_SHARDS = 2


@contextmanager
def two_workers(num_scorers: int) -> Iterator[Cluster]:
    """Two workers that both serve every shard; the first is slow when a query says so."""
    with cluster_of_its_own(
        num_shards=NUM_SHARDS,
        num_replicas=2,
        environment={"HEDGEROW_WORKER__SCORERS": str(num_scorers)},
        first_has={"HEDGEROW_TEST_SLOW": "1"},
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """With one scorer each, which one slow request holds up; each test leaves it whole."""
    with two_workers(1) as cluster:
        yield cluster


@pytest.fixture
def roomy_cluster() -> Iterator[Cluster]:
    """With a scorer more each than a query's parts can hold up, so that they pull on."""
    with two_workers(NUM_SHARDS + 1) as cluster:
        yield cluster


@asynccontextmanager
async def learnt(cluster: Cluster, max_extra_load: float = 1.0) -> AsyncIterator[Gateway]:
    """A gateway that knows how long the shards need, and sees every replica."""
    # More second copies than anybody would allow: each test needs some more than once.
    hedging = HedgingSettings(max_extra_load=max_extra_load, burst=100)
    # The slow worker would be spared live requests, which are what these tests are about.
    probation = ProbationSettings(max_ejection_percent=0)
    update = {"hedging": hedging, "probation": probation}
    settings = cluster.settings.model_copy(update=update)
    async with Gateway.connect(settings, num_shards=NUM_SHARDS) as gateway:
        await all_live(gateway)
        await until(lambda: gateway._membership.num_live == [2] * NUM_SHARDS)
        await load(gateway, "hedges", DOCUMENTS)
        for number in range(100):
            result = await ask(
                gateway, "hedges", f"hedge {number}", rank_profile="late_here", deadline_ms=2000.0
            )
            assert result.coverage.is_full
        yield gateway


async def num_stopped(gateway: Gateway) -> int:
    """How many searches the workers have stopped while they ran, by their last heartbeats."""
    workers = (await gateway.status())["workers"]
    return sum(worker["ledger"]["stopped"]["count"] for worker in workers)


async def counters(gateway: Gateway) -> dict[str, int]:
    """The workers' counters, added up, by their last heartbeats."""
    total: dict[str, int] = {}
    for worker in (await gateway.status())["workers"]:
        for name, count in worker["counters"].items():
            total[name] = total.get(name, 0) + count
    return total


async def test_a_stopped_replica_costs_no_query_its_coverage(cluster: Cluster) -> None:
    """What a worker has pulled when it is stopped is answered by the other, long before the end."""
    async with learnt(cluster) as gateway:
        cluster.signal(0, signal.SIGSTOP)
        for number in range(20):  # also those after it is no longer live
            result = await ask(
                gateway, "hedges", f"hedge {number}", rank_profile="late_here", deadline_ms=5000.0
            )
            assert result.coverage.is_full
            assert result.took_ms < 2500
        hedges = (await gateway.status())["gateway"]["hedges"]
        assert hedges["search"]["won"] + hedges["fetch"]["won"] >= 1
        cluster.signal(0, signal.SIGCONT)
        await until(lambda: gateway._membership.num_live == [2] * NUM_SHARDS)


async def test_a_slow_replica_loses_to_the_other_and_is_stopped(cluster: Cluster) -> None:
    """Each query that the slow worker has taken is answered by the other; the slow work ends."""
    async with learnt(cluster) as gateway:
        before = await num_stopped(gateway)
        for number in range(20):
            result = await ask(
                gateway, "hedges", f"late {number}", rank_profile="late_here", deadline_ms=5000.0
            )
            assert result.coverage.is_full
            assert result.took_ms < 2500
        hedges = (await gateway.status())["gateway"]["hedges"]["search"]
        assert hedges["won"] >= 1
        assert (
            hedges["won"] + hedges["lost_before_start"] + hedges["lost_while_running"]
            == (hedges["sent"])
        )

        async def is_stopped() -> bool:
            return await num_stopped(gateway) > before

        await until(is_stopped)


async def test_a_second_copy_is_handed_on_by_the_worker_that_has_the_first(
    roomy_cluster: Cluster,
) -> None:
    """With the other replica stopped, its own second copy is not run by the slow one as well."""
    async with learnt(roomy_cluster) as gateway:
        roomy_cluster.signal(1, signal.SIGSTOP)
        await ask(gateway, "hedges", "number", rank_profile="late_here", deadline_ms=2000.0)
        with pytest.raises(InsufficientCoverageError):  # no worker is left that could answer
            await ask(gateway, "hedges", "late", rank_profile="late_here", deadline_ms=800.0)
        roomy_cluster.signal(1, signal.SIGCONT)

        async def handed_on() -> bool:
            return (await counters(gateway)).get("hedges_handed_over", 0) >= 1

        await until(handed_on)


async def test_what_waits_behind_a_slow_request_is_answered_by_the_other_replica(
    cluster: Cluster,
) -> None:
    """With hedging off, a worker whose scorer stands still loses that shard's answer, not both."""
    async with learnt(cluster, max_extra_load=0.0) as gateway:
        before = (await counters(gateway)).get("searches_given_back", 0)
        for number in range(5):
            result = await ask(
                gateway, "hedges", f"late {number}", rank_profile="late_here", deadline_ms=400.0
            )
            assert result.coverage.fraction > 0
            for quick in range(30):  # else the slow worker has learnt to take one at a time
                await ask(
                    gateway,
                    "hedges",
                    f"hedge {quick}",
                    rank_profile="late_here",
                    deadline_ms=2000.0,
                )

        async def given_back() -> bool:
            return (await counters(gateway)).get("searches_given_back", 0) > before

        await until(given_back)
