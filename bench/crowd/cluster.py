"""The cluster as `gateway up` makes it, on its cores, with documents that are kept."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.harness.processes import Cores, descendants
from bench.search.documents import Documents
from bench.search.inside.hedgerow_up import load
from bench.search.inside.serving import Task
from bench.search.used.corpus import two_words
from common.config import load_settings
from gateway.client import AsyncClient
from gateway.client.status import StatusAnswer
from gateway.cluster import GATEWAY, ClusterOptions, LocalCluster

_NUM_QUERIES = 1_000
_LOADED = "loaded"  # a file in the folder: how many documents there are


@dataclass(frozen=True, slots=True)
class Running:
    """A loaded cluster.

    Attributes:
        url: where its gateway answers.
        size: the line that says how large it is, and why.
        parts: name → the processes of each part.
    """

    url: str
    size: str
    parts: dict[str, list[int]]


@asynccontextmanager
async def run_cluster(
    folder: Path, documents: Documents, limit: int, cores: Cores
) -> AsyncIterator[Running]:
    """Run the cluster, and load the first `limit` documents unless the folder has them.

    In the block, this process and what it starts have the clients' cores.
    """
    os.sched_setaffinity(0, cores.cluster)  # which its processes inherit
    cluster = LocalCluster(
        ClusterOptions(data=folder / "data", port=0), load_settings(), lambda _: None
    )
    try:
        await cluster.start()
        os.sched_setaffinity(0, cores.clients)
        loaded = folder / _LOADED
        if not (loaded.exists() and loaded.read_text() == str(limit)):
            async with AsyncClient(cluster.url) as client:
                await load(client, Task(folder, documents.path, limit, [], 0, []))
            loaded.write_text(str(limit))
        yield Running(cluster.url, str(cluster.sizing), _parts(cluster))
    finally:
        os.sched_setaffinity(0, cores.cluster | cores.clients)
        await cluster.stop()


def _parts(cluster: LocalCluster) -> dict[str, list[int]]:
    pids = {line.name: line.pid for line in cluster.processes() if line.pid}
    workers = [pid for name, pid in pids.items() if name.startswith("worker-")]
    return {
        "gateway": [pids[GATEWAY]],
        "Redis": [pid for name, pid in pids.items() if name == "redis"],
        "workers": workers,
        "scorers": [pid for worker in workers for pid in descendants(worker)],
    }


def write_queries(documents: Documents, path: Path) -> None:
    """Write queries of two words of the documents, one a line."""
    queries = two_words(documents.lines(20 * _NUM_QUERIES), _NUM_QUERIES)
    path.write_text("\n".join(query.text for query in queries), encoding="utf-8")


def openings(status: StatusAnswer) -> int:
    """How often breakers have opened, as far as the status remembers."""
    return sum(
        transition.after == "open"
        for shard in status.shards
        for transition in shard.breaker_detail.transitions
    )
