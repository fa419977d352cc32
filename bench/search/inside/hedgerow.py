"""Hedgerow: a cluster of real processes, over HTTP and from its Python client.

Options: SHARDS, WORKERS. Ways: `http` is the benchmark's own bare exchange, `client` is
`gateway.client.AsyncClient`, `noop` is `http` without a search (the first ids, in the loop lane).
"""

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache, partial
from importlib import metadata
from itertools import islice
from typing import Any

from bench.harness.cluster import Cluster, run_cluster
from bench.harness.cluster import connect as connect_gateway
from bench.harness.http_load import HttpGateway, run_gateway
from bench.harness.pipe import Pipe, Setting
from bench.harness.processes import CpuMeter
from bench.search.inside.serving import Hits, Loaded, Ready, Task, disk_bytes
from bench.search.queries import Query
from common.lifecycle import calm_collector
from gateway.client import AsyncClient
from gateway.service import Gateway

COLLECTION = "texts"
_DEADLINE_MS = 60_000.0  # none is reached: what is compared answers when it is done
# So long that a worker which the driver has stopped meanwhile still counts as live.
_HEARTBEAT_EXPIRY_S = 3600.0
_HEARTBEAT_EXPIRY = "HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S"
_PIECE_LINES = 500
_SPREAD_TIMEOUT_S = 60.0
_OPTIMISE_TIMEOUT_S = 300.0

Ask = Callable[[Query, int], Awaitable[tuple[int | None, Hits]]]


def layout_of(num_shards: int, num_workers: int) -> list[list[int]]:
    """The shards of each worker: as even as can be."""
    return [list(range(number, num_shards, num_workers)) for number in range(num_workers)]


def settings_of(num_shards: int, num_workers: int) -> tuple[Setting, ...]:
    """What is told of them."""
    scorers = max(1, len(os.sched_getaffinity(0)) // num_workers)
    return (
        Setting("shards", str(num_shards), "of the collection"),
        Setting("workers", str(num_workers), f"with {scorers} scorer process(es) each"),
        Setting("language", "none", "lower case, no stop words, no stems"),
        Setting("deadline_ms", f"{_DEADLINE_MS:g}", "each query has one; none is reached"),
        Setting("fields", "false", "ids and scores are wanted, as of the others"),
        Setting(
            "worker.heartbeat_expiry_s",
            f"{_HEARTBEAT_EXPIRY_S:g}",
            "workers that are stopped while others are measured still count as live",
        ),
        Setting(
            "gateway optimise",
            "after each load",
            "documents in one segment a shard, as in tantivy's own",
        ),
        Setting("everything else", "its default", "breaker, hedging, admission, nice 5 included"),
    )


class Engine:
    """A running cluster with a gateway process before it."""

    def __init__(
        self, task: Task, cluster: Cluster, gateway: HttpGateway, client: AsyncClient
    ) -> None:
        self._task = task
        self._cluster = cluster
        self._http = gateway
        self._client = client
        # A load checks each answer, and does not take it apart: it runs on the cores that the
        # cluster runs on, and what it costs counts against it.
        self._ways: dict[str, Callable[[Query, int], Awaitable[object]]] = {
            "http": partial(self._exchange, profile="bm25"),
            "client": self._ask_client,
            "noop": partial(self._exchange, profile="noop"),
        }

    async def _ask_http(self, query: Query, k: int) -> tuple[int | None, Hits]:
        answer = json.loads(await self._exchange(query, k, "bm25"))
        return answer["total_hits"]["value"], [(hit["id"], hit["score"]) for hit in answer["hits"]]

    async def _exchange(self, query: Query, k: int, profile: str) -> bytes:
        asked = _body(query.text, k, profile)
        answer = await self._http.search(COLLECTION, asked)
        if b'"is_full":true' not in answer:
            raise RuntimeError(answer[:400].decode(errors="replace"))
        return answer

    async def _ask_client(self, query: Query, k: int) -> tuple[int | None, Hits]:
        answer = await self._client.search(
            COLLECTION, query.text, k=k, deadline_ms=_DEADLINE_MS, fields=False
        )
        if not answer.coverage.is_full:
            raise RuntimeError(str(answer.shards))
        return answer.total_hits.value, [(hit.id, hit.score) for hit in answer.hits]

    async def run(
        self, in_flight: int, k: int, seconds: float, num_queries: int, way: str
    ) -> Loaded:
        """As `serving.run`, with a task for each caller."""
        ask, loaded = self._ways[way], Loaded()
        queries = self._task.queries[:num_queries]
        clock, record = time.perf_counter, loaded.latencies_us.append
        meter = CpuMeter(
            {"client": [os.getpid()], "gateway": [self._http.pid], **self._cluster.parts()}
        )
        started = clock()
        works: deque[Query] = deque()

        async def call() -> None:
            while works or clock() < started + seconds:
                if not works:
                    works.extend(queries)
                query = works.popleft()
                asked_at = clock()
                try:
                    await ask(query, k)
                except Exception as error:  # noqa: BLE001 - counted; the page shows them
                    loaded.num_failed += 1
                    loaded.failure = repr(error)
                else:
                    record(round((clock() - asked_at) * 1e6))

        works.extend(queries)
        await asyncio.gather(*(call() for _ in range(in_flight)))
        loaded.seconds = clock() - started
        loaded.cpu_s = meter.used_s()
        return loaded

    async def find(self, k: int, way: str) -> list[tuple[int | None, Hits]]:
        """What each query finds."""
        ask: Ask = {"http": self._ask_http, "client": self._ask_client}[way]
        return [await ask(query, k) for query in self._task.queries]

    async def grow(self, have: int, limit: int) -> float:
        """Load the documents from number `have` up to `limit`; returns how long it took, in s."""
        async with connect_gateway(self._cluster) as gateway:
            return await load(gateway, self._task, have, limit)


@lru_cache(maxsize=4096)
def _body(text: str, k: int, profile: str) -> bytes:
    asked = {
        "query": text,
        "k": k,
        "deadline_ms": _DEADLINE_MS,
        "fields": False,
        "rank_profile": profile,
    }
    return json.dumps(asked).encode()


async def load(gateway: Gateway, task: Task, have: int, limit: int) -> float:
    """Load documents until they can be found, have the indexes optimised, and spread statistics.

    Returns:
        How long loading and optimising took, in s; statistics follow within some seconds.
    """
    started = time.perf_counter()
    report = await gateway.documents.load(COLLECTION, _pieces(task, have, limit), wait="applied")
    if report.accepted != limit - have:
        raise RuntimeError(f"{report.accepted} of {limit - have} documents were accepted")
    wanted_at_ms = (await gateway.optimiser.ask(COLLECTION))["wanted_at_ms"]
    optimised = partial(_is_optimised, gateway, wanted_at_ms)
    await _wait_until("the indexes are optimised", optimised, _OPTIMISE_TIMEOUT_S)
    took_s = time.perf_counter() - started
    spread = partial(_is_spread, gateway, limit)
    await _wait_until("the term statistics are spread", spread, _SPREAD_TIMEOUT_S)
    return took_s


async def _wait_until(what: str, is_true: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not await is_true():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        await asyncio.sleep(0.1)


async def _pieces(task: Task, have: int, limit: int) -> AsyncIterator[bytes]:
    with task.documents.open("rb") as file:
        lines = islice(file, have, limit)
        while piece := b"".join(islice(lines, _PIECE_LINES)):
            yield piece


async def _is_spread(gateway: Gateway, num_documents: int) -> bool:
    one = await _status(gateway)
    statistics = one["statistics"]
    # Before the workers have told of the documents, nothing is lacking.
    is_told = one["documents"] == num_documents
    return bool(is_told and statistics["is_current"] and statistics["is_spread"])


async def _is_optimised(gateway: Gateway, wanted_at_ms: int) -> bool:
    index = (await _status(gateway))["index"]
    return bool(index["wanted_at_ms"] == wanted_at_ms and index["waiting"] == 0)


async def _status(gateway: Gateway) -> dict[str, Any]:
    collections = (await gateway.status())["collections"]
    return next(dict(one) for one in collections if one["name"] == COLLECTION)


async def serve(task: Task, cluster: Cluster, settings: tuple[Setting, ...]) -> None:
    """Load the documents, and answer the driver."""
    pipe = Pipe()
    async with connect_gateway(cluster) as gateway:
        definition = {"fields": {"text": "text"}, "language": "none"}
        await gateway.collections.put(COLLECTION, definition)
        build_s = await load(gateway, task, 0, task.limit)
    async with run_gateway(cluster) as http, AsyncClient(http.url) as client:
        engine = Engine(task, cluster, http, client)
        await engine.run(1, 10, 0.0, len(task.queries), "http")
        calm_collector()  # as `gateway serve` does
        versions = {"hedgerow": metadata.version("hedgerow")}
        pipe.say(Ready(build_s, disk_bytes(cluster.folder), versions, settings).to_json())
        have, loop = task.limit, asyncio.get_running_loop()
        commands = map(str.split, pipe.lines())
        while words := await loop.run_in_executor(None, next, commands, None):
            match words:
                case ["run", in_flight, k, seconds, num_queries, way]:
                    numbers = int(in_flight), int(k), float(seconds), int(num_queries)
                    loaded = await engine.run(*numbers, way)
                    pipe.say(loaded.to_json())
                case ["find", k, way]:
                    pipe.say({"found": await engine.find(int(k), way)})
                case ["grow", limit]:
                    took_s = await engine.grow(have, int(limit))
                    have = int(limit)
                    pipe.say({"build_s": took_s, "disk_bytes": disk_bytes(cluster.folder)})
                case _:
                    raise ValueError(f"no command: {words}")


def main() -> None:
    """Start a cluster, and serve."""
    task = Task.from_arguments()
    num_shards, num_workers = map(int, task.options)
    os.environ[_HEARTBEAT_EXPIRY] = str(_HEARTBEAT_EXPIRY_S)  # for the gateway's process too
    with run_cluster(
        layout_of(num_shards, num_workers), heartbeat_expiry_s=_HEARTBEAT_EXPIRY_S
    ) as cluster:
        asyncio.run(serve(task, cluster, settings_of(num_shards, num_workers)))


if __name__ == "__main__":
    main()
