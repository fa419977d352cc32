"""A cluster started by `gateway up` on its own cores, whose documents are kept between runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.crowd.figures import PARTS
from bench.harness.processes import Cores
from bench.harness.up import run_up
from bench.search.documents import Documents
from bench.search.inside.hedgerow_up import load
from bench.search.inside.serving import Task
from bench.search.used.corpus import two_words
from hedgerow.gateway.client import AsyncClient
from hedgerow.gateway.shapes.status import StatusAnswer

_NUM_QUERIES = 1_000
_LOADED = "loaded"  # a file in the folder that holds the number of documents


@dataclass(frozen=True, slots=True)
class Running:
    """A loaded cluster.

    Attributes:
        url: where its gateway answers.
        size: the line that gives its size and the reason for it.
        parts: name → the processes of the part.
    """

    url: str
    size: str
    parts: dict[str, list[int]]


@asynccontextmanager
async def run_cluster(
    folder: Path, documents: Documents, limit: int, cores: Cores
) -> AsyncIterator[Running]:
    """Run the cluster, and load the first `limit` documents unless the folder already has them.

    Within the block, this process and its children run on the clients' cores.
    """
    async with run_up(folder / "data", environment={}, cores=cores) as up:
        loaded = folder / _LOADED
        if not (loaded.exists() and loaded.read_text() == str(limit)):
            async with AsyncClient(up.url) as client:
                await load(client, Task(folder, documents.path, limit, [], 0, []))
            loaded.write_text(str(limit))
        parts = {name: pids for name, pids in up.parts().items() if name in PARTS}
        yield Running(up.url, up.size, parts)


def write_queries(documents: Documents, path: Path) -> None:
    """Write queries of two words from the documents, one a line."""
    queries = two_words(documents.lines(20 * _NUM_QUERIES), _NUM_QUERIES)
    path.write_text("\n".join(query.text for query in queries), encoding="utf-8")


def openings(status: StatusAnswer) -> int:
    """How often breakers have opened, as far as the status shows it."""
    return sum(
        transition.after == "open"
        for shard in status.shards
        for transition in shard.breaker_detail.transitions
    )
