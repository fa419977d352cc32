"""Hedgerow: a cluster of real processes, over HTTP and from its Python client.

Options: SHARDS, WORKERS. Ways: `http` is the benchmark's own bare exchange, `client` is
`gateway.client.AsyncClient`, `noop` is `http` without a search (the first ids, in the loop lane).
"""

import asyncio
import json
import os
from functools import lru_cache, partial
from importlib import metadata
from typing import Any

from bench.harness.cluster import Cluster, open_gateway, run_cluster
from bench.harness.http_load import HttpGateway, run_gateway
from bench.harness.pipe import Pipe, Setting
from bench.harness.up import load_into
from bench.search.inside.callers import Ask, Command, Verdict, serve_callers
from bench.search.inside.serving import Hits, Ready, Task, disk_bytes
from bench.search.queries import Query
from hedgerow.gateway.client import AsyncClient, SearchAnswer

COLLECTION = "texts"
_DEADLINE_MS = 60_000.0  # none is reached: what is compared answers when it is done
# Long enough that a worker which the driver has stopped still counts as live.
_HEARTBEAT_EXPIRY_S = 3600.0
_HEARTBEAT_EXPIRY = "HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S"


def layout_of(num_shards: int, num_workers: int) -> list[list[int]]:
    """The shards of each worker: as even as can be."""
    return [list(range(number, num_shards, num_workers)) for number in range(num_workers)]


def settings_of(num_shards: int, num_workers: int) -> tuple[Setting, ...]:
    """What the page says of them."""
    scorers = max(1, len(os.sched_getaffinity(0)) // num_workers)
    return (
        Setting("shards", str(num_shards), "of the collection"),
        Setting("workers", str(num_workers), f"with {scorers} scorer process(es) each"),
        Setting("language", "none", "lower case, no stop words, no stems"),
        Setting("deadline_ms", f"{_DEADLINE_MS:g}", "each query has one; none is reached"),
        Setting("fields", "false", "ids and scores only, as for the others"),
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

    A load checks each answer without parsing it: it runs on the same cores as the cluster, so its
    cost counts against the cluster.
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


async def load(client: AsyncClient, task: Task, have: int, limit: int) -> float:
    """Load the documents from number `have` up to `limit`, as `load_into` does."""
    documents = ({"id": one, "text": text} for one, text in task.read(have, limit))
    definition = {"fields": {"text": "text"}, "language": "none"}
    return await load_into(client, COLLECTION, documents, limit - have, have, **definition)


async def serve(task: Task, cluster: Cluster, settings: tuple[Setting, ...]) -> None:
    """Load the documents, and answer the driver."""
    pipe = Pipe()  # what is logged from here on is not taken for an answer
    async with open_gateway(cluster):
        pass  # every shard has its worker now
    async with run_gateway(cluster) as http, AsyncClient(http.url) as client:
        asking, have = Asking(http, client), task.limit
        build_s = await load(client, task, 0, have)

        def make_ready() -> Ready:
            versions = {"hedgerow": metadata.version("hedgerow")}
            return Ready(build_s, disk_bytes(cluster.folder), versions, settings)

        async def find(k: str, way: str) -> dict[str, Any]:
            return {"found": [await asking.find(query, int(k), way) for query in task.queries]}

        async def grow(limit: str) -> dict[str, Any]:
            nonlocal have
            took_s = await load(client, task, have, int(limit))
            have = int(limit)
            return {"build_s": took_s, "disk_bytes": disk_bytes(cluster.folder)}

        def parts() -> dict[str, list[int]]:
            return {"client": [os.getpid()], "gateway": [http.pid], **cluster.parts()}

        others: dict[str, Command] = {"find": find, "grow": grow}
        await serve_callers(pipe, task, make_ready, asking.ways, parts, others)


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
