"""A query that kills its scorers, asked of a real cluster: how many die of it, and where."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest

from hedgerow.common.errors import InsufficientCoverageError, NotFoundError
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.state.quarantine import Quarantine
from hedgerow.common.state.quarantine_store import QuarantineStore
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchResult
from hedgerow.gateway.shapes.status import StatusAnswer
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.executors.process_pool.task import Named, Task, TaskHandle
from hedgerow.shard_worker.serving.quarantine_exchange import QuarantineExchange
from tests.support.clusters import Cluster, ask, cluster_of_its_own, gateway_to, load
from tests.support.servers import RedisServer
from tests.support.shapes import check_shape
from tests.support.waiting import until

pytestmark = pytest.mark.integration

DOCUMENTS: list[dict[str, Any]] = [
    {"id": f"d{number}", "title": f"hedge number {number}", "number": number}
    for number in range(40)
]
NUM_SHARDS = 4


@contextmanager
def cluster_of(expiry_s: float) -> Iterator[Cluster]:
    """Two workers of two shards and two scorers each: four scorers get a query at once."""
    environment = {
        "HEDGEROW_WORKER__SCORERS": "2",
        "HEDGEROW_WORKER__QUARANTINE_EXPIRY_S": str(expiry_s),
    }
    with cluster_of_its_own(num_shards=NUM_SHARDS, environment=environment) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One cluster for the module."""
    with cluster_of(expiry_s=300.0) as cluster:
        yield cluster


@asynccontextmanager
async def prepared(cluster: Cluster) -> AsyncIterator[Gateway]:
    """A gateway, with the documents there and every scorer well."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "hedges", DOCUMENTS)
        await whole(gateway)
        for shard in range(NUM_SHARDS):
            gateway.set_breaker(shard, "closed")
        yield gateway


async def lanes(gateway: Gateway) -> list[dict[str, Any]]:
    """Each worker's process lane, by a heartbeat that was sent after this was called."""
    asked_at_ms = gateway._parts.server_ms()
    found: list[dict[str, Any]] = []

    async def is_fresh() -> bool:
        workers = (await gateway.status())["workers"]
        now_ms = gateway._parts.server_ms()
        found[:] = [worker["lanes"]["process"] for worker in workers]
        return all(now_ms - worker["age_ms"] > asked_at_ms for worker in workers)

    await until(is_fresh)
    return found


async def deaths(gateway: Gateway) -> int:
    """Scorers that have died of what they ran, over all workers."""
    return sum(lane["crashes"] for lane in await lanes(gateway))


async def has_restarted(gateway: Gateway, count: int) -> bool:
    """Whether the first worker has replaced this many scorers."""
    return bool((await lanes(gateway))[0]["restarts"] >= count)


async def kills_of(gateway: Gateway, query: str) -> int:
    """Scorers that have died of a query, as the cluster's list has it."""
    (entry,) = [one for one in await gateway.quarantine.list() if one["query"] == query]
    return int(entry["kills"])


async def whole(gateway: Gateway) -> None:
    """Wait until each scorer is there."""

    async def is_whole() -> bool:
        return all(lane["alive"] == lane["capacity"] for lane in await lanes(gateway))

    await until(is_whole)


async def refused(gateway: Gateway, query: str, **more: Any) -> SearchResult:
    """Ask what no shard can answer; returns what came instead."""
    with pytest.raises(InsufficientCoverageError) as failed:
        await ask(gateway, "hedges", query, **{"deadline_ms": 10_000.0, **more})
    result = failed.value.result
    assert isinstance(result, SearchResult)
    return result


def reasons(result: SearchResult) -> str:
    """Everything that the shards say."""
    return "; ".join(detail.reason for detail in result.detail)


async def test_asked_twice_it_kills_at_the_first_asking_alone(cluster: Cluster) -> None:
    """What crashes at once may kill a scorer on each shard, none at its retry, and none later."""
    async with prepared(cluster) as gateway:
        before = await deaths(gateway)
        await refused(gateway, "hedge crash once", rank_profile="numbers")
        first = await deaths(gateway) - before
        assert 2 <= first <= NUM_SHARDS
        await whole(gateway)
        again = await refused(gateway, "hedge crash once", rank_profile="numbers")
        assert reasons(again).count("is refused") == NUM_SHARDS, reasons(again)
        assert await deaths(gateway) - before == first


async def test_a_canary_lets_it_kill_two_in_the_whole_cluster(cluster: Cluster) -> None:
    """Asked by several at once: the first try and its retry die, on one shard; then no other."""
    async with prepared(cluster) as gateway:
        before = await lanes(gateway)
        results = await asyncio.gather(
            *(refused(gateway, "hedge crash carefully", rank_profile="careful") for _ in range(3))
        )
        after = await lanes(gateway)
        killed = [b["crashes"] - a["crashes"] for a, b in zip(before, after, strict=True)]
        assert sorted(killed) == [0, 2]
        # Of the one that was tried, the other shards; of those that waited for it, all.
        unasked = sorted(reasons(result).count("not asked") for result in results)
        assert unasked == [NUM_SHARDS - 1, NUM_SHARDS, NUM_SHARDS]
        await whole(gateway)
        await refused(gateway, "hedge crash carefully", rank_profile="careful")
        assert await kills_of(gateway, "careful: hedge crash carefully") == 2


async def test_a_canary_costs_a_harmless_query_nothing_but_time(cluster: Cluster) -> None:
    """Every shard answers, the first time and the second."""
    async with prepared(cluster) as gateway:
        for _ in range(2):
            result = await ask(gateway, "hedges", "hedge", rank_profile="careful", k=3)
            assert result.coverage.is_full
            assert [hit.id for hit in result.hits] == ["d39", "d38", "d37"]


async def test_the_first_to_die_saves_those_that_run(cluster: Cluster) -> None:
    """Four scorers run it at once: one dies, its retry dies, the other three are stopped."""
    async with prepared(cluster) as gateway:
        before = await deaths(gateway)
        result = await refused(gateway, "hedge crash slowly", rank_profile="creeping")
        assert await deaths(gateway) - before == 2
        assert reasons(result).count("has killed 2 scorers and is refused") == NUM_SHARDS - 1


async def test_a_death_that_is_not_the_querys_fault_costs_no_shard(cluster: Cluster) -> None:
    """A scorer at work is killed from outside: the retry lives, and then the others go on."""
    async with prepared(cluster) as gateway:
        before = await deaths(gateway)
        # Three seconds and more, so that a heartbeat carries it.
        query = {"rank_profile": "creeping", "filter": "number:[3 TO 39]"}
        asked = asyncio.create_task(ask(gateway, "hedges", "hedge", **query, deadline_ms=60_000.0))

        async def is_running() -> bool:
            return all(lane["busy"] == 2 for lane in await lanes(gateway))

        await until(is_running)
        # Two of a worker's three scorers are at work: the first one, or else the second.
        lane, *_ = await lanes(gateway)
        for num_killed, pid in enumerate(lane["pids"][:2], 1):
            os.kill(pid, signal.SIGKILL)
            num_restarts = lane["restarts"] + num_killed
            await until(partial(has_restarted, gateway, num_restarts))
            if await deaths(gateway) > before:
                break
        assert (await asked).coverage.is_full
        assert await deaths(gateway) - before == 1


async def test_a_worker_that_never_saw_it_refuses_it(cluster: Cluster) -> None:
    """A worker that starts afterwards knows of the kills before it."""
    async with prepared(cluster) as gateway:
        await refused(gateway, "hedge crash before", rank_profile="numbers")
        cluster.signal(1, signal.SIGTERM)
        await until(lambda: cluster.workers[1].poll() is not None)
        cluster.start(1)
        await until(lambda: not all(gateway._membership.live))
        await until(lambda: all(gateway._membership.live))
        result = await refused(gateway, "hedge crash before", rank_profile="numbers")
        assert reasons(result).count("is refused") == NUM_SHARDS
        assert [lane["crashes"] for lane in await lanes(gateway)][1] == 0


async def test_it_is_listed_once_and_lifted_everywhere(cluster: Cluster) -> None:
    """The list is the cluster's, in the status too; a lift lets the query run, and it kills."""
    async with prepared(cluster) as gateway:
        await refused(gateway, "hedge crash listed", rank_profile="numbers")
        status = await gateway.status()
        status["gateway"]["access"] = AccessControl(GatewaySettings()).to_json(gateway.callers())
        check_shape(status, StatusAnswer)
        (entry,) = [one for one in status["quarantine"] if "listed" in one["query"]]
        assert entry in await gateway.quarantine.list()
        assert entry["refused"]
        assert entry["kills"] >= 2
        assert set(entry["workers"]) <= {"w0", "w1"}
        await whole(gateway)

        before = await deaths(gateway)
        await gateway.quarantine.lift(entry["fingerprint"])
        assert not [one for one in await gateway.quarantine.list() if "listed" in one["query"]]
        await refused(gateway, "hedge crash listed", rank_profile="numbers")
        assert await deaths(gateway) > before
        with pytest.raises(NotFoundError):
            await gateway.quarantine.lift("00")


async def test_it_expires() -> None:
    """After its time the query runs again, in every worker."""
    with cluster_of(expiry_s=10.0) as cluster:
        async with prepared(cluster) as gateway:
            await refused(gateway, "hedge crash expiring", rank_profile="numbers")
            assert [lane["quarantined"] for lane in await lanes(gateway)] == [1, 1]
            await whole(gateway)
            before = await deaths(gateway)

            async def has_expired() -> bool:
                return not any(lane["quarantined"] for lane in await lanes(gateway))

            async def has_run_again() -> bool:
                return await deaths(gateway) > before

            await until(has_expired)
            await refused(gateway, "hedge crash expiring", rank_profile="numbers")
            await until(has_run_again)


@asynccontextmanager
async def exchange(server: RedisServer, prefix: str, worker: str) -> AsyncIterator[QuarantineGate]:
    """What one worker knows, kept up to date over a real server."""
    control = await connect(RedisSettings(url=server.url, reconnect_max_s=0.1))
    keys = Keys(prefix)
    quarantine = Quarantine(2, 60.0)
    gate = QuarantineGate(quarantine, lambda _: int(time.time() * 1000), worker)
    board = QuarantineStore(control, keys, quarantine.retention_ms)
    running = asyncio.create_task(
        QuarantineExchange(control, keys.events, board, gate).run(), name=worker
    )
    try:
        await until(lambda: _num_listening(server, keys.events, worker))
        yield gate
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await control.close()


async def _num_listening(server: RedisServer, channel: str, worker: str) -> bool:
    control = await connect(RedisSettings(url=server.url))
    try:
        counts = await control.execute("PUBSUB", "NUMSUB", channel)
    finally:
        await control.close()
    return bool(counts[1] > int(worker[1:]))


def handle() -> TaskHandle:
    """A work that kills."""
    expires_at = time.monotonic() + 5
    work = Task(b"", expires_at, Named("bad", b"f"))
    return TaskHandle(work, lambda _: None, 0.0, expires_at)


async def test_kills_while_redis_is_away_are_told_when_it_is_back(
    own_server: RedisServer, key_prefix: str
) -> None:
    """Without Redis, a worker refuses by what it knows; with it, every worker does."""
    async with (
        exchange(own_server, key_prefix, "w0") as here,
        exchange(own_server, key_prefix, "w1") as there,
    ):
        own_server.stop(kill=True)
        for _ in range(2):
            here.killed(handle(), time.monotonic(), will_retry=True)
        assert here.refusal(handle(), time.monotonic())
        assert not there.refusal(handle(), time.monotonic())
        own_server.start()
        await until(lambda: there.refusal(handle(), time.monotonic()) is not None)


async def test_a_worker_catches_up_before_it_listens(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """What the cluster knows is known to a worker that has not begun to listen."""
    async with exchange(redis_server, key_prefix, "w0") as here:
        for _ in range(2):
            here.killed(handle(), time.monotonic(), will_retry=True)
        control = await connect(RedisSettings(url=redis_server.url))
        try:
            keys, quarantine = Keys(key_prefix), Quarantine(2, 60.0)
            late = QuarantineGate(quarantine, lambda _: int(time.time() * 1000), "w1")
            board = QuarantineStore(control, keys, quarantine.retention_ms)
            await until(lambda: _num_stored(board, 2))
            await QuarantineExchange(control, keys.events, board, late).catch_up()
            assert late.refusal(handle(), time.monotonic())
        finally:
            await control.close()


async def _num_stored(board: QuarantineStore, count: int) -> bool:
    return len(await board.records()) == count


async def test_others_hear_of_a_kill_when_it_happens(
    redis_server: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kill is announced and heard: no worker reads the list again, or waits for a period."""
    monkeypatch.setattr("hedgerow.shard_worker.serving.quarantine_exchange.LONGEST_PAUSE_S", 3600.0)
    async with (
        exchange(redis_server, key_prefix, "w0") as here,
        exchange(redis_server, key_prefix, "w1") as there,
    ):
        heard = asyncio.Event()
        there.listeners.append(lambda _: heard.set())
        with patch.object(QuarantineStore, "records", side_effect=AssertionError):
            for number in range(15):
                heard.clear()
                now = time.monotonic()
                work = Task(b"", now + 60, Named("bad", b"%d" % number))
                here.killed(TaskHandle(work, lambda _: None, 0.0, now + 60), now, will_retry=True)
                async with asyncio.timeout(20):
                    await heard.wait()
