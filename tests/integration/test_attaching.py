"""Documents that come with the replies to a search, through a real cluster."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import pytest

from hedgerow.common.settings.limits import LimitSettings
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchResult
from tests.support.clusters import Cluster, all_live, ask, cluster_of_its_own, load

pytestmark = pytest.mark.integration

NUM_DOCUMENTS = 300
DOCUMENTS = [
    # A different length each, so that no two scores are the same.
    {"id": f"d{number}", "text": "wing " + "tail " * number, "number": number}
    for number in range(NUM_DOCUMENTS)
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three shards on one worker, for the module; each test has a collection of its own."""
    with cluster_of_its_own(num_shards=3, num_workers=1) as cluster:
        yield cluster


@asynccontextmanager
async def gateway_with(cluster: Cluster, **limits: int) -> AsyncIterator[Gateway]:
    """A gateway in this process that has these limits."""
    settings = cluster.settings.model_copy(update={"limits": LimitSettings(**limits)})
    async with Gateway.connect(settings, num_shards=cluster.num_shards) as gateway:
        await all_live(gateway)
        yield gateway


def fields_of(result: SearchResult) -> list[tuple[str, Any]]:
    """Each hit's id and fields; fails where fields are missing."""
    assert result.coverage.is_full
    assert result.fetch is not None
    assert (result.fetch.missing, result.fetch.problems) == (0, [])
    return [(hit.id, hit.fields) for hit in result.hits]


async def test_answers_are_the_same_with_and_without_a_fetch(cluster: Cluster) -> None:
    """Answers are equal, whether their documents came with the replies or were fetched."""
    async with gateway_with(cluster) as attaching:
        await load(attaching, "same", DOCUMENTS)
        async with gateway_with(cluster, max_attached_bytes=0) as fetching:
            for changes in ({"k": 3}, {"k": 30}, {"k": 10, "fields": ("number",)}):
                attached = fields_of(await ask(attaching, "same", "wing", **changes))
                assert attached == fields_of(await ask(fetching, "same", "wing", **changes))
                assert len(attached) == changes["k"]


async def test_searches_at_once_have_the_answers_that_they_have_alone(cluster: Cluster) -> None:
    """Scorers then search several shards of a query together, and send the winners' documents."""
    async with gateway_with(cluster) as attaching:
        await load(attaching, "at-once", DOCUMENTS)
        together = await asyncio.gather(
            *(ask(attaching, "at-once", "wing", k=k, deadline_ms=30_000) for k in range(1, 17))
        )
        async with gateway_with(cluster, max_attached_bytes=0) as fetching:
            alone = fields_of(await ask(fetching, "at-once", "wing", k=16))
    assert [fields_of(result) for result in together] == [alone[:k] for k in range(1, 17)]


async def test_nothing_is_fetched_that_came_with_the_replies(cluster: Cluster) -> None:
    """By default; each shard sends as many documents as there are hits, for so few of them."""
    async with gateway_with(cluster) as gateway:
        await load(gateway, "small", DOCUMENTS[:9])
        fetcher = gateway._searcher.fetcher
        with patch.object(fetcher, "read", side_effect=fetcher.read) as read:
            assert len(fields_of(await ask(gateway, "small", "wing", k=3))) == 3
    assert not read.called


async def test_what_has_no_room_is_fetched(cluster: Cluster) -> None:
    """All documents of a large answer are there, though few of them come with the replies."""
    async with gateway_with(cluster, max_attached_bytes=3000) as gateway:
        await load(gateway, "large", DOCUMENTS)
        found = fields_of(await ask(gateway, "large", "wing", k=200, deadline_ms=20_000.0))
    stored = {str(document["id"]): document for document in DOCUMENTS}
    assert found == [(one, stored[one]) for one, _ in found]
    assert len(found) == 200


async def test_an_enrich_sees_all_documents(cluster: Cluster) -> None:
    """A profile with an `enrich` has its documents fetched, and enriched."""
    async with gateway_with(cluster) as gateway:
        await load(gateway, "enriched", [{"id": "a", "title": "wing"}])
        result = await ask(gateway, "enriched", "wing", rank_profile="greeting")
    assert [hit.fields for hit in result.hits] == [
        {"id": "a", "title": "wing", "greeting": "hello a"}
    ]


async def test_a_document_that_was_replaced_comes_in_its_new_form(cluster: Cluster) -> None:
    """Once a write is applied, a search brings what was written, from a scorer that had it open."""
    async with gateway_with(cluster) as gateway:
        for number in range(3):
            document = {"id": "a", "text": "wing", "number": number}
            await load(gateway, "replaced", [document])
            assert fields_of(await ask(gateway, "replaced", "wing")) == [("a", document)]
