"""Hedgerow: a cluster of real processes, over HTTP and from its Python client.

Options: SHARDS, WORKERS. Ways: `http` is the benchmark's own bare exchange, `client` is
`gateway.client.AsyncClient`, `noop` is `http` without a search (the first ids, in the loop lane).
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache, partial
from importlib import metadata
from itertools import islice
from typing import Any

from bench.harness.cluster import Cluster, run_cluster
from bench.harness.cluster import connect as connect_gateway
from bench.harness.http_load import HttpGateway, run_gateway
from bench.harness.pipe import Setting
from bench.search.inside.callers import Ask, Command, Verdict, serve_callers
from bench.search.inside.serving import Hits, Ready, Task, disk_bytes
from bench.search.queries import Query
from gateway.client import AsyncClient
from gateway.client.answers import SearchAnswer
from gateway.service import Gateway

COLLECTION = "texts"
_DEADLINE_MS = 60_000.0  # none is reached: what is compared answers when it is done
# So long that a worker which the driver has stopped meanwhile still counts as live.
_HEARTBEAT_EXPIRY_S = 3600.0
_HEARTBEAT_EXPIRY = "HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S"
_PIECE_LINES = 500
_SPREAD_TIMEOUT_S = 60.0
_OPTIMISE_TIMEOUT_S = 300.0


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


class Asking:
    """How a running cluster is asked, over HTTP and by the Python client.

    A load checks each answer, and does not take it apart: it runs on the cores that the cluster
    runs on, and what it costs counts against it.
    """

    def __init__(self, http: HttpGateway, client: AsyncClient) -> None:
        """Ask by these."""
        self._http = http
        self._client = client
        self.ways: dict[str, Ask] = {
            "http": partial(self._by_http, profile="bm25"),
            "client": self._by_client,
            "noop": partial(self._by_http, profile="noop"),
        }

    async def _by_http(self, query: Query, k: int, profile: str) -> Verdict:
        await self._exchange(query, k, profile)
        return Verdict.WHOLE

    async def _by_client(self, query: Query, k: int) -> Verdict:
        await self._answer(query, k)
        return Verdict.WHOLE

    async def _exchange(self, query: Query, k: int, profile: str) -> bytes:
        answer = await self._http.search(COLLECTION, _body(query.text, k, profile))
        if b'"is_full":true' not in answer:
            raise RuntimeError(answer[:400].decode(errors="replace"))
        return answer

    async def _answer(self, query: Query, k: int) -> SearchAnswer:
        answer = await self._client.search(
            COLLECTION, query.text, k=k, deadline_ms=_DEADLINE_MS, fields=False
        )
        if not answer.coverage.is_full:
            raise RuntimeError(str(answer.shards))
        return answer

    async def find(self, query: Query, k: int, way: str) -> tuple[int | None, Hits]:
        """How many match, and the best."""
        if way == "client":
            found = await self._answer(query, k)
            return found.total_hits.value, [(hit.id, hit.score) for hit in found.hits]
        answer = json.loads(await self._exchange(query, k, "bm25"))
        return answer["total_hits"]["value"], [(hit["id"], hit["score"]) for hit in answer["hits"]]


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
    async with connect_gateway(cluster) as gateway:
        definition = {"fields": {"text": "text"}, "language": "none"}
        await gateway.collections.put(COLLECTION, definition)
        build_s = await load(gateway, task, 0, task.limit)
    have = task.limit

    def make_ready() -> Ready:
        versions = {"hedgerow": metadata.version("hedgerow")}
        return Ready(build_s, disk_bytes(cluster.folder), versions, settings)

    async with run_gateway(cluster) as http, AsyncClient(http.url) as client:
        asking = Asking(http, client)

        async def find(k: str, way: str) -> dict[str, Any]:
            return {"found": [await asking.find(query, int(k), way) for query in task.queries]}

        async def grow(limit: str) -> dict[str, Any]:
            nonlocal have
            async with connect_gateway(cluster) as gateway:
                took_s = await load(gateway, task, have, int(limit))
            have = int(limit)
            return {"build_s": took_s, "disk_bytes": disk_bytes(cluster.folder)}

        def parts() -> dict[str, list[int]]:
            return {"client": [os.getpid()], "gateway": [http.pid], **cluster.parts()}

        others: dict[str, Command] = {"find": find, "grow": grow}
        await serve_callers(task, make_ready, asking.ways, parts, others)


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
