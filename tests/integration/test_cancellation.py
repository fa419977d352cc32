"""Work ends when no caller waits for it any more: callers who leave, over Python and over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.gateway.cli.serve import listen
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.http.app import create_app
from hedgerow.gateway.http.server.connection_table import ConnectionTable
from hedgerow.gateway.http.server.server import HttpServer
from hedgerow.shard_worker.executors.process_pool.core_use import process_cpu_s
from tests.support.clusters import Cluster, ask, cluster_of_its_own, gateway_to, load
from tests.support.connections import Way, by_asgi, plain
from tests.support.waiting import until

pytestmark = pytest.mark.integration

DOCUMENTS: list[dict[str, Any]] = [
    {"id": f"d{number}", "title": f"hedge number {number}", "number": number}
    for number in range(40)
]
NUM_SHARDS = 4
DEADLINE_MS = 30_000.0  # nothing ends by itself while a test runs


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One cluster for the module."""
    with cluster_of_its_own(num_shards=NUM_SHARDS) as cluster:
        yield cluster


async def ledger(gateway: Gateway) -> dict[str, int]:
    """How many requests have ended in each way, over all workers, by their heartbeats."""
    total: dict[str, int] = {}
    for worker in (await gateway.status())["workers"]:
        for end, sums in worker["ledger"].items():
            total[end] = total.get(end, 0) + sums["count"]
    return total


async def scorer_cpu_s(gateway: Gateway) -> list[float]:
    """CPU time that each worker's scorers have used."""
    workers = (await gateway.status())["workers"]
    pids = [worker["lanes"]["process"]["pids"] for worker in workers]
    return [sum(process_cpu_s(pid) or 0.0 for pid in own) for own in pids]


async def num_busy(gateway: Gateway) -> int:
    """Scorers that have work, by the last heartbeats."""
    return sum(one["lanes"]["process"]["busy"] for one in (await gateway.status())["workers"])


async def test_a_caller_who_leaves_stops_all_that_was_begun_for_it(cluster: Cluster) -> None:
    """Running searches are stopped, waiting ones never start, and no breaker takes note."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "hedges", DOCUMENTS)
        before, used_s = await ledger(gateway), await scorer_cpu_s(gateway)
        # More than the scorers can run: some are still in the queues when their caller leaves.
        searches = [
            asyncio.ensure_future(
                ask(gateway, "hedges", f"hedge {n}", rank_profile="polite", deadline_ms=DEADLINE_MS)
            )
            for n in range(8)
        ]

        async def all_run() -> bool:
            """Whether each scorer is past what it does before it ranks, for which 0.2 s is much."""
            now_s = await scorer_cpu_s(gateway)
            return all(now - used > 0.2 for used, now in zip(used_s, now_s, strict=True))

        await until(all_run)
        for search in searches:
            search.cancel()
        await asyncio.gather(*searches, return_exceptions=True)

        async def all_ended() -> bool:
            after = await ledger(gateway)
            ended = {end: after[end] - before[end] for end in ("stopped", "dropped", "answered")}
            return ended["stopped"] >= 2 and sum(ended.values()) == 8 * NUM_SHARDS

        await until(all_ended)
        assert await num_busy(gateway) == 0
        result = await ask(gateway, "hedges", "hedge")
        assert result.coverage.is_full
        states = [shard["breaker"] for shard in (await gateway.status())["shards"]]
        assert states == ["closed"] * NUM_SHARDS


@asynccontextmanager
async def http_server(gateway: Gateway, way: Way) -> AsyncIterator[int]:
    """The HTTP face of a gateway, on a port of this machine."""
    app = way(create_app(gateway, gateway.settings.gateway))
    listener = listen("127.0.0.1", 0)
    server = HttpServer(app, ConnectionTable(ConnectionSettings(), Counters()))
    await server.start(listener)
    try:
        yield listener.getsockname()[1]
    finally:
        await server.drain(10.0)


@pytest.mark.parametrize("way", [plain, by_asgi])
async def test_a_client_that_hangs_up_stops_its_search(cluster: Cluster, way: Way) -> None:
    """Closing the connection is noticed while the search runs, which is stopped in every shard."""
    async with gateway_to(cluster) as gateway, http_server(gateway, way) as port:
        await load(gateway, "hedges", DOCUMENTS)
        before = await ledger(gateway)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps(
            {"query": "hedge", "rank_profile": "polite", "deadline_ms": DEADLINE_MS}
        ).encode()
        head = (
            "POST /v1/collections/hedges/search HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: {len(body)}"
        )
        writer.write(head.encode() + b"\r\nContent-Type: application/json\r\n\r\n" + body)

        async def all_busy() -> bool:
            return await num_busy(gateway) == 2

        await until(all_busy)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

        async def all_ended() -> bool:
            after = await ledger(gateway)
            return sum(after[end] - before[end] for end in ("stopped", "dropped")) == NUM_SHARDS

        await until(all_ended)
        assert gateway._searcher.num_in_flight == 0
