"""Answers of a real cluster come by the deadline, whatever is killed, hangs or spins meanwhile."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.common.errors import InsufficientCoverageError
from hedgerow.common.outcome import Outcome
from tests.integration.test_failures import (  # noqa: F401 - `logged` is a fixture here, too
    DOCUMENTS,
    NUM_SHARDS,
    logged,
    prepared,
    share,
)
from tests.support.clusters import Cluster, all_live, ask, cluster_of_its_own, gateway_to, load
from tests.support.servers import DURABLE
from tests.support.waiting import until

# Alone: answers are to come within 50 ms of the deadline.
pytestmark = [pytest.mark.integration, pytest.mark.alone]

supervised = pytest.mark.parametrize("cluster", ["supervised"], indirect=True)
both = pytest.mark.parametrize("cluster", ["supervised", "executor"], indirect=True)


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """One cluster for each pool of scorers; each test leaves it whole."""
    pool = {"HEDGEROW_WORKER__PROCESS_POOL": request.param}
    with cluster_of_its_own(*DURABLE, log=Path("workers.log"), environment=pool) as cluster:
        yield cluster


@both
async def test_a_killed_worker_costs_its_share_until_it_is_back(cluster: Cluster) -> None:
    """SIGKILL: the other shards by the deadline, then `unavailable` at once, then everything."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)
        cluster.kill(1)
        started = asyncio.get_running_loop().time()
        result = await ask(gateway, "hedges", "hedge", deadline_ms=300.0)
        assert asyncio.get_running_loop().time() - started < 0.35
        assert set(result.coverage.degraded) <= {"timed_out", "unavailable"}
        assert result.coverage.fraction == pytest.approx(share(cluster.shards_of(0)))

        await until(lambda: not any(gateway._membership.live[s] for s in cluster.shards_of(1)))
        result = await ask(gateway, "hedges", "hedge", deadline_ms=2000.0)
        assert result.coverage.degraded == {"unavailable": len(cluster.shards_of(1))}
        assert result.took_ms < 1000

        cluster.start(1)
        await all_live(gateway)

        async def is_whole() -> bool:
            result = await ask(gateway, "hedges", "hedge", deadline_ms=2000.0)
            return result.coverage.is_full

        await until(is_whole)


@both
async def test_work_that_ignores_its_budget_is_killed(cluster: Cluster) -> None:
    """A second phase that spins: the answer is on time, and its scorer's slot is restored."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)
        started = asyncio.get_running_loop().time()
        with pytest.raises(InsufficientCoverageError):
            await ask(gateway, "hedges", "hedge spin", rank_profile="numbers", deadline_ms=300.0)
        assert asyncio.get_running_loop().time() - started < 0.35

        async def is_restored() -> bool:
            workers = (await gateway.status())["workers"]
            return all(
                worker["lanes"]["process"]["killed"] >= 1
                and worker["lanes"]["process"]["alive"] == worker["lanes"]["process"]["capacity"]
                for worker in workers
            )

        await until(is_restored)
        for worker in (await gateway.status())["workers"]:
            killed = worker["ledger"]["killed"]
            # Two shards each, one after the other: a spin of the deadline and of the grace period.
            assert 0 < killed["cpu_us"] <= killed["work_us"]
            assert killed["work_us"] >= killed["count"] * 200_000
        for shard in range(NUM_SHARDS):
            gateway.set_breaker(shard, "closed")
        assert (await ask(gateway, "hedges", "hedge", deadline_ms=5000.0)).coverage.is_full


@supervised
async def test_a_killed_redis_costs_503s_and_nothing_else(cluster: Cluster) -> None:
    """Server killed: refusals in time. Server back: every document is there, nothing restarted."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)
        pids = {worker: process.pid for worker, process in cluster.workers.items()}
        cluster.server.stop(kill=True)
        started = asyncio.get_running_loop().time()
        for _ in range(5):
            with pytest.raises(InsufficientCoverageError) as refused:
                await ask(gateway, "hedges", "hedge", deadline_ms=200.0)
            assert refused.value.result.outcomes[Outcome.UNAVAILABLE] == NUM_SHARDS
        assert asyncio.get_running_loop().time() - started < 5 * 0.25
        cluster.server.start()

        async def is_whole() -> bool:
            try:
                result = await ask(gateway, "hedges", "hedge", k=100, deadline_ms=2000.0)
            except InsufficientCoverageError:
                return False
            return result.coverage.is_full and len(result.hits) == len(DOCUMENTS)

        await until(is_whole)
        await load(gateway, "afterwards", [{"id": "a", "title": "new", "number": 1}])
        assert pids == {worker: process.pid for worker, process in cluster.workers.items()}
        assert all(process.poll() is None for process in cluster.workers.values())


@supervised
async def test_a_hanging_redis_is_not_waited_for(cluster: Cluster) -> None:
    """Server stopped: the answer comes by the deadline and says that the shards were not asked."""
    async with gateway_to(cluster) as gateway:
        await prepared(gateway)
        cluster.server.signal(signal.SIGSTOP)
        try:
            started = asyncio.get_running_loop().time()
            with pytest.raises(InsufficientCoverageError) as refused:
                await ask(gateway, "hedges", "hedge", deadline_ms=200.0)
            assert asyncio.get_running_loop().time() - started < 0.25
            assert refused.value.result.outcomes[Outcome.UNAVAILABLE] == NUM_SHARDS

            async def is_unready() -> bool:
                return not gateway.is_ready

            # Well before a command to it would time out.
            await until(is_unready, cluster.settings.redis.command_timeout_s / 2)
        finally:
            cluster.server.signal(signal.SIGCONT)

        async def is_whole() -> bool:
            if not gateway.is_ready:
                return False
            result = await ask(gateway, "hedges", "hedge", deadline_ms=2000.0)
            return result.coverage.is_full

        await until(is_whole)
