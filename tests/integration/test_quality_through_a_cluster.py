"""Eight shards rank as one does, and as Lucene does, through real clusters on judged collections.

The collections are read where they lie, beside the project; HEDGEROW_COLLECTIONS names another
folder. Lucene's figures (BM25 at k1 1.2, b 0.75) are the ones published with the collections.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import ir_measures
import pytest
from ir_measures import Qrel, ScoredDoc, nDCG

from gateway.service import Gateway
from tests.conftest import missing
from tests.integration.cluster import ROOT, Cluster, ask, gateway_to, running_cluster
from tests.servers import running_server
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

COLLECTIONS = Path(os.environ.get("HEDGEROW_COLLECTIONS", ROOT.parent / "shared" / "collections"))
LUCENE_NDCG10 = {"cranfield": 0.368, "cisi": 0.385, "med": 0.690, "scifact": 0.683}
IN_FLIGHT = 4
K = 10


def lines_of(collection: str, file: str) -> list[dict[str, Any]]:
    """The JSON lines of one of a collection's files."""
    path = COLLECTIONS / collection / file
    if not path.is_file():
        missing(f"the judged collections in {COLLECTIONS}")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def judgments(collection: str) -> list[Qrel]:
    """The judgments; the grades are the gains."""
    rows = (COLLECTIONS / collection / "qrels.tsv").read_text(encoding="utf-8").splitlines()
    return [
        Qrel(query, document, int(grade))
        for query, document, grade in (row.split("\t") for row in rows)
    ]


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[int, Cluster]]:
    """Number of shards → a cluster of so many."""
    with ExitStack() as stack:
        started = {}
        for num_shards, num_workers in ((1, 1), (8, 2)):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hedgerow-test-")))
            server = stack.enter_context(running_server(folder))
            started[num_shards] = stack.enter_context(
                running_cluster(server, folder, num_shards=num_shards, num_workers=num_workers)
            )
        yield started


@asynccontextmanager
async def gateways(clusters: dict[int, Cluster]) -> AsyncIterator[dict[int, Gateway]]:
    """Number of shards → a gateway to that cluster."""
    async with AsyncExitStack() as stack:
        yield {
            num_shards: await stack.enter_async_context(gateway_to(cluster))
            for num_shards, cluster in clusters.items()
        }


async def indexed(gateway: Gateway, collection: str) -> None:
    """The collection's titles and texts are indexed, and its term statistics spread."""
    await gateway.collections.put(collection, {"fields": {"title": "text", "text": "text"}})

    async def lines() -> AsyncIterator[bytes]:
        for document in lines_of(collection, "corpus.jsonl"):
            yield json.dumps({key: document[key] for key in ("id", "title", "text")}).encode()
            yield b"\n"

    report = await gateway.documents.load(collection, lines(), "applied")
    assert report.accepted == len(lines_of(collection, "corpus.jsonl"))

    async def are_spread() -> bool:
        (found,) = [c for c in (await gateway.status())["collections"] if c["name"] == collection]
        return bool(found["statistics"]["is_current"] and found["statistics"]["is_spread"])

    await until(are_spread, 60)


async def run_of(gateway: Gateway, collection: str) -> dict[str, list[tuple[str, float]]]:
    """Query → (document, score) of the top 10, every answer at full coverage."""
    answers: dict[str, list[tuple[str, float]]] = {}
    waiting = lines_of(collection, "queries.jsonl")

    async def worker() -> None:
        while waiting:
            query = waiting.pop()
            result = await ask(
                gateway, collection, query["text"], k=K, fields=False, deadline_ms=30_000.0
            )
            assert result.coverage.is_full
            answers[query["id"]] = [(hit.id, hit.score) for hit in result.hits]

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return answers


def ndcg(answers: dict[str, list[tuple[str, float]]], collection: str) -> float:
    """NDCG@10 by ir-measures, over the judged queries."""
    run = [
        ScoredDoc(query, document, score)
        for query, hits in answers.items()
        for document, score in hits
    ]
    return float(ir_measures.calc_aggregate([nDCG @ 10], judgments(collection), run)[nDCG @ 10])


def overlap(
    these: dict[str, list[tuple[str, float]]], those: dict[str, list[tuple[str, float]]]
) -> float:
    """Mean share of the top 10 that both have."""
    shares = []
    for query, hits in these.items():
        one, other = {hit for hit, _ in hits}, {hit for hit, _ in those[query]}
        shares.append(len(one & other) / max(len(one), len(other), 1))
    return sum(shares) / len(shares)


@pytest.mark.parametrize("collection", sorted(LUCENE_NDCG10))
async def test_eight_shards_rank_as_one_and_as_lucene(
    clusters: dict[int, Cluster], collection: str
) -> None:
    """Overlap ≥ 0.97, nDCG@10 within 0.01 of one shard's and within 0.02 of Lucene's."""
    async with gateways(clusters) as by_shards:
        answers = {}
        for num_shards, gateway in by_shards.items():
            await indexed(gateway, collection)
            answers[num_shards] = await run_of(gateway, collection)
    of_one, of_eight = ndcg(answers[1], collection), ndcg(answers[8], collection)
    assert overlap(answers[8], answers[1]) >= 0.97
    assert abs(of_eight - of_one) <= 0.01
    assert abs(of_eight - LUCENE_NDCG10[collection]) <= 0.02
