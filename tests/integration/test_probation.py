"""A worker that is slower than its replica is spared live requests until it is well again."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.settings.tail import HedgingSettings, ProbationSettings
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchResult
from tests.support.clusters import Cluster, all_live, ask, load, running_cluster
from tests.support.servers import temporary_server
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

DOCUMENTS: list[dict[str, Any]] = [
    {"id": f"d{number}", "title": f"probation number {number}", "number": number}
    for number in range(20)
]
SLOW = "slow"  # a file of the cluster's folder
NUM_SHARDS = 2
SICK = "w0"
SLOW_S = 0.06
# By far more than three times what the other needs, for which it has to wait on a busy machine.
VERY_SLOW_S = 0.3


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two workers that both serve every shard; the first is slow while `cluster.folder/slow` is."""
    # A worker of a busy machine may be silent for a while, and serve all the same.
    with two_workers(HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S="3.0") as cluster:
        yield cluster


@contextmanager
def two_workers(**environment: str) -> Iterator[Cluster]:
    """The same, with further settings."""
    with (
        temporary_server() as server,
        running_cluster(
            server,
            server.folder,
            num_shards=NUM_SHARDS,
            num_replicas=2,
            environment=environment,
            first_has={"HEDGEROW_TEST_SLOW_WHILE": str(server.folder / SLOW)},
        ) as cluster,
    ):
        yield cluster


def sicken(cluster: Cluster, slow_s: float = VERY_SLOW_S) -> Path:
    """Make the first worker take so long for each shard, while the returned file is there."""
    file = cluster.folder / SLOW
    written = file.with_suffix(".new")
    written.write_text(f"{slow_s}", encoding="utf-8")
    return written.replace(file)


@asynccontextmanager
async def gateway_to(cluster: Cluster, max_extra_load: float = 0.0) -> AsyncIterator[Gateway]:
    """A gateway that judges soon, once it has every replica."""
    update = {
        "hedging": HedgingSettings(max_extra_load=max_extra_load, burst=100),
        "probation": ProbationSettings(
            interval_s=0.2, base_ejection_time_s=1.0, minimum_number_of_calls=10
        ),
    }
    settings = cluster.settings.model_copy(update=update)
    async with Gateway.connect(settings, num_shards=NUM_SHARDS) as gateway:
        await all_live(gateway)
        await until(lambda: gateway._membership.num_live == [2] * NUM_SHARDS)
        yield gateway


async def query(gateway: Gateway) -> SearchResult:
    """Ask once, in detail."""
    result = await ask(
        gateway,
        "things",
        "probation",
        rank_profile="slow_while",
        explain=True,
        fields=False,
        deadline_ms=10_000.0,
    )
    assert result.coverage.is_full
    return result


async def queries(gateway: Gateway, num: int) -> list[SearchResult]:
    """Ask `num` times, three at once, so that neither worker is always the one that is free."""
    results: list[SearchResult] = []

    async def caller() -> None:
        while len(results) < num:
            results.append(await query(gateway))

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(caller())
    return results


async def worker(gateway: Gateway, name: str) -> dict[str, Any]:
    """What status says of a worker."""
    return next(one for one in (await gateway.status())["workers"] if one["id"] == name)


async def served(gateway: Gateway, name: str) -> int:
    """How many requests a worker has answered, by its last heartbeat."""
    count: int = (await worker(gateway, name))["ledger"]["answered"]["count"]
    return count


async def ask_until_left(gateway: Gateway, shards: list[int]) -> None:
    """Ask until the slow worker says that it leaves these shards' requests to the other."""

    async def is_so() -> bool:
        await queries(gateway, 6)
        return bool((await worker(gateway, SICK))["leaves"] == shards)

    await until(is_so, 60)


@pytest.mark.alone  # the slow one helps if the other leaves a request for 50 ms
async def test_a_slow_replica_goes_is_tried_and_comes_back(cluster: Cluster) -> None:
    """On probation it answers no live request, but copies; well again it answers live ones."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "things", DOCUMENTS)
        slow = sicken(cluster, SLOW_S)
        await ask_until_left(gateway, [0, 1])

        told = await worker(gateway, SICK)
        assert told["on_probation"]
        assert told["probation"]["gateway"] == gateway.id
        assert "ms" in told["probation"]["reason"]
        assert not (await worker(gateway, "w1"))["on_probation"]

        before = await served(gateway, SICK)
        results = await queries(gateway, 150)
        assert {part.worker for result in results for part in result.detail} == {"w1"}
        times = sorted(result.took_ms for result in results)
        assert times[len(times) // 2] < SLOW_S * 1000

        async def is_tried() -> bool:
            return await served(gateway, SICK) > before

        await until(is_tried)
        assert (await worker(gateway, SICK))["on_probation"]  # its trials were slow

        slow.unlink()
        await ask_until_left(gateway, [])
        assert not (await worker(gateway, SICK))["on_probation"]

        async def is_back() -> bool:
            results = await queries(gateway, 6)
            return SICK in {part.worker for result in results for part in result.detail}

        await until(is_back)


async def test_the_last_live_replica_serves_however_slow(cluster: Cluster) -> None:
    """When the other one dies, the slow worker takes live requests again, within an expiry."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "things", DOCUMENTS)
        sicken(cluster)
        await ask_until_left(gateway, [0, 1])
        cluster.kill(1)

        async def is_last() -> bool:
            return bool((await worker(gateway, SICK))["leaves"] == [])

        await until(is_last)
        for result in await queries(gateway, 9):
            assert {part.worker for part in result.detail} == {SICK}


@pytest.mark.alone  # an answer takes a second at most, most of which the worker waits
async def test_what_nobody_takes_is_taken_by_the_slow_one() -> None:
    """It does not wait until the heartbeat of the other, which is dead, has expired."""
    with two_workers(HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S="60") as cluster:
        async with gateway_to(cluster) as gateway:
            await load(gateway, "things", DOCUMENTS)
            sicken(cluster, SLOW_S)
            await ask_until_left(gateway, [0, 1])
            cluster.kill(1)
            for result in await queries(gateway, 9):
                assert {part.worker for part in result.detail} == {SICK}
                assert result.took_ms < 1000


async def test_a_gateway_that_dies_takes_its_word_with_it(cluster: Cluster) -> None:
    """The ban of a gateway that is gone is not renewed: the worker serves again by itself."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "things", DOCUMENTS)
        sicken(cluster)
        await ask_until_left(gateway, [0, 1])
    async with gateway_to(cluster) as gateway:
        assert (await worker(gateway, SICK))["leaves"] == [0, 1]

        async def has_ended() -> bool:
            return bool((await worker(gateway, SICK))["leaves"] == [])

        await until(has_ended)

        async def is_told() -> bool:
            return not (await worker(gateway, SICK))["on_probation"]

        await until(is_told)


@pytest.mark.alone  # a second copy is sent if the first takes longer than usual by milliseconds
async def test_second_copies_that_win_tell_who_was_slow(cluster: Cluster) -> None:
    """Where each slow request loses to its second copy, and is never answered, it counts too."""
    async with gateway_to(cluster, max_extra_load=1.0) as gateway:
        await load(gateway, "things", DOCUMENTS)
        for _ in range(100):
            await query(gateway)  # teaches what is usual
        sicken(cluster, SLOW_S)
        await ask_until_left(gateway, [0, 1])
        hedges = (await gateway.status())["gateway"]["hedges"]["search"]
        assert hedges["won"] >= 1


async def test_a_stopped_worker_is_no_case_for_probation(cluster: Cluster) -> None:
    """It is not live, and comes back with a clean sheet."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "things", DOCUMENTS)
        cluster.signal(0, signal.SIGSTOP)
        await until(lambda: gateway._membership.num_live == [1] * NUM_SHARDS)
        await queries(gateway, 30)
        cluster.signal(0, signal.SIGCONT)
        await until(lambda: gateway._membership.num_live == [2] * NUM_SHARDS)
        assert not (await worker(gateway, SICK))["on_probation"]
