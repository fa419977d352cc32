"""Eight shards rank as one does, and as Lucene does, through a real cluster."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchResult
from hedgerow.gateway.shapes.answer import TotalHits
from tests.integration.test_ranking_quality import build, close
from tests.support.clusters import Cluster, all_live, ask, cluster_of_its_own, load_into
from tests.support.corpora import Document, large_corpus, queries_over
from tests.support.judged import LUCENE_NDCG10, Judged, K, mean, overlap

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

IN_FLIGHT = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Eight shards on two workers."""
    with cluster_of_its_own(num_shards=8, num_workers=2) as cluster:
        yield cluster


@asynccontextmanager
async def patient_gateway_to(cluster: Cluster) -> AsyncIterator[Gateway]:
    """A gateway whose loads wait until they count, however long a busy machine takes."""
    settings = cluster.settings
    patient = settings.gateway.model_copy(
        update={"statistics_timeout_s": 120.0, "write_timeout_s": 300.0}
    )
    async with Gateway.connect(
        settings.model_copy(update={"gateway": patient}), num_shards=cluster.num_shards
    ) as gateway:
        await all_live(gateway, timeout_s=120)
        yield gateway


async def indexed(gateway: Gateway, name: str, documents: Sequence[Document]) -> None:
    """The documents' titles and texts are indexed, and so counted in the ranking."""
    await gateway.collections.put(name, {"fields": {"title": "text", "text": "text"}})
    kept = ("id", "title", "text")
    await load_into(gateway, name, [{key: one[key] for key in kept} for one in documents])


async def answers_of(
    gateway: Gateway, name: str, queries: Mapping[str, str]
) -> dict[str, SearchResult]:
    """Query → the top 10, every answer at full coverage."""
    answers: dict[str, SearchResult] = {}
    waiting = list(queries.items())

    async def worker() -> None:
        while waiting:
            query_id, text = waiting.pop()
            result = await ask(gateway, name, text, k=K, fields=False, deadline_ms=30_000.0)
            assert result.coverage.is_full
            answers[query_id] = result

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return answers


def scored(answers: Mapping[str, SearchResult]) -> dict[str, list[tuple[str, float]]]:
    """Query → (document, score), best first."""
    return {query: [(hit.id, hit.score) for hit in one.hits] for query, one in answers.items()}


@pytest.mark.parametrize("name", sorted(LUCENE_NDCG10))
async def test_eight_shards_rank_as_one_and_as_lucene(
    cluster: Cluster, tmp_path: Path, name: str
) -> None:
    """The first queries after a load overlap by 97 %, and nDCG@10 is within 0.01 of Lucene's."""
    judged = Judged.load(name)
    one = build(tmp_path, judged.documents, 1)
    expected = {
        query: [(hit, score) for score, hit in one.search(text)[1]]
        for query, text in judged.queries.items()
    }
    close(one)
    async with patient_gateway_to(cluster) as gateway:
        await indexed(gateway, name, judged.documents)
        answers = scored(await answers_of(gateway, name, judged.queries))
    overlaps = [
        overlap((best for best, _ in expected[query]), (best for best, _ in answers[query]))
        for query in judged.queries
    ]
    of_one, of_eight = judged.ndcg10(expected), judged.ndcg10(answers)
    assert mean(overlaps) >= 0.97
    assert abs(of_eight - of_one) <= 0.01
    assert abs(of_eight - LUCENE_NDCG10[name]) <= 0.01


async def test_a_hundred_thousand_documents_overlap_by_99_percent(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Over a large corpus, of short documents where many tie, the top ten is that of one index.

    Queries of one to six words, also with operators and phrases, match as many documents.
    """
    documents = large_corpus()
    queries = {str(number): query for number, query in enumerate(queries_over(documents, 600))}
    one = build(tmp_path, documents, 1)
    expected = {query: one.search(text) for query, text in queries.items()}
    close(one)
    async with patient_gateway_to(cluster) as gateway:
        await indexed(gateway, "large", documents)
        answers = await answers_of(gateway, "large", queries)
    overlaps = []
    for query, (total, hits) in expected.items():
        assert answers[query].total_hits == TotalHits(total, "eq"), queries[query]
        found = (hit.id for hit in answers[query].hits)
        overlaps.append(overlap((best for _, best in hits), found))
    assert sum(total > 0 for total, _ in expected.values()) > len(queries) * 0.9
    assert mean(overlaps) >= 0.99, f"{mean(overlaps):.4f}"
