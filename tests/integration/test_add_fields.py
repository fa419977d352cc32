"""Fields are added to real clusters' collections, whatever is written, asked or killed amid."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.errors import BadRequestError, ConflictError, NotFoundError
from hedgerow.gateway.gateway import Gateway
from hedgerow.shard_worker.indexing.field_filler import FieldFiller
from hedgerow.shard_worker.storage.index_replacement import filling_folder
from hedgerow.shard_worker.storage.text_index import TextIndex
from tests.integration.support.write_path import NUM_SHARDS, WritePath, writing
from tests.support.clusters import (
    Cluster,
    ask,
    cluster_of_its_own,
    gateway_to,
    load_into,
    ndjson,
)
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NUM_REPLICAS = 4  # two shards, each on both of two workers
ADDED = {"author": "text", "year": "integer"}
NUM_FILLED = 12_000  # enough for several steps, so that filling can be disturbed


def rows(first: int, count: int) -> list[dict[str, Any]]:
    """Some documents, all of which have the word "hedge" in the title."""
    return [
        {"id": f"d{n}", "title": f"hedge {n}", "author": f"author{n % 10}", "year": 1900 + n % 100}
        for n in range(first, first + count)
    ]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One cluster for the module; each test leaves it whole, and has a collection of its own."""
    with cluster_of_its_own(num_shards=2, num_replicas=2) as cluster:
        yield cluster


@asynccontextmanager
async def titled(cluster: Cluster, name: str, count: int = 400) -> AsyncIterator[Gateway]:
    """A gateway to the whole cluster, which has a collection that declares titles only."""
    async with gateway_to(cluster) as gateway:
        await until(lambda: num_live(gateway) == NUM_REPLICAS)
        await gateway.collections.put(name, {"fields": {"title": "text"}})
        await load_into(gateway, name, rows(0, count))
        yield gateway
        await gateway.collections.drop(name)


def num_live(gateway: Gateway) -> int:
    """How many replicas are live, of both shards together."""
    return sum(gateway._membership.num_replicas(shard) for shard in range(2))


async def until_filled(gateway: Gateway, name: str) -> None:
    """Wait until the gateway hears that every replica has all fields."""

    async def is_filled() -> bool:
        return (await gateway.collections.describe(name))["filling"] is None

    await until(is_filled, 60)


async def test_added_fields_are_searched_in_every_replica(cluster: Cluster) -> None:
    """The description says that they are being filled, and then they find what was there before."""
    async with titled(cluster, "all") as gateway:
        before = await ask(gateway, "all", "hedge 77", k=50)
        for worker in cluster.workers:  # which may be done before the description is read
            cluster.signal(worker, signal.SIGSTOP)
        try:
            await gateway.collections.add_fields("all", {"fields": ADDED})
            described = await gateway.collections.describe("all")
        finally:
            for worker in cluster.workers:
                cluster.signal(worker, signal.SIGCONT)
        assert list(described["fields"]) == ["title", "author", "year"]
        assert described["filling"]["waiting"] > 0
        await until(lambda: num_live(gateway) == NUM_REPLICAS)
        during = await ask(gateway, "all", "hedge 77", k=50)
        assert during.coverage.fraction == 1.0
        assert [hit.id for hit in during.hits][:1] == ["d77"]
        await until_filled(gateway, "all")
        uid = gateway.collections.get("all").uid
        folders = list(cluster.folder.glob(f"data-*/shards/*/{uid}"))
        assert len(folders) == NUM_REPLICAS
        for folder in folders:
            assert list(TextIndex.open(folder).collection.fields or {}) == list(described["fields"])
        found = await ask(gateway, "all", "author:author7", k=100)
        assert found.total_hits.value == 40
        assert not found.warnings
        filtered = await ask(gateway, "all", "hedge", filter="year:[1990 TO *]", k=100)
        assert filtered.total_hits.value == 40
        assert {hit.id for hit in (await ask(gateway, "all", "author7", k=100)).hits} == {
            f"d{n}" for n in range(7, 400, 10)
        }
        assert (await ask(gateway, "all", "hedge 77", k=50)).total_hits == before.total_hits


async def test_fields_that_do_not_fit_are_refused(cluster: Cluster) -> None:
    """A type is not changed, nothing but fields is; each error names what is wrong."""
    async with titled(cluster, "refused", 4) as gateway:
        with pytest.raises(ConflictError, match='"title" is text already'):
            await gateway.collections.add_fields("refused", {"fields": {"title": "keyword"}})
        with pytest.raises(BadRequestError, match="language"):
            await gateway.collections.add_fields("refused", {"fields": {}, "language": "german"})
        with pytest.raises(BadRequestError, match="fields"):
            await gateway.collections.add_fields("refused", {})
        with pytest.raises(NotFoundError):
            await gateway.collections.add_fields("nothing", {"fields": ADDED})
        assert (await gateway.collections.describe("refused"))["filling"] is None


async def test_a_worker_that_was_away_fills_when_it_is_back(cluster: Cluster) -> None:
    """What was added while it was killed is not forgotten."""
    async with titled(cluster, "away") as gateway:
        cluster.kill(1)
        await until(lambda: num_live(gateway) == NUM_REPLICAS // 2)
        await gateway.collections.add_fields("away", {"fields": ADDED})
        await until_filled(gateway, "away")
        cluster.start(1)
        await until(lambda: num_live(gateway) == NUM_REPLICAS)
        uid = gateway.collections.get("away").uid
        folders = list(cluster.folder.glob(f"data-*/shards/*/{uid}"))
        assert len(folders) == NUM_REPLICAS

        async def is_done() -> bool:
            indexes = [TextIndex.open(folder) for folder in folders]
            return all("year" in (index.collection.fields or {}) for index in indexes)

        await until(is_done, 60)
        await until_filled(gateway, "away")


@asynccontextmanager
async def filling(path: WritePath) -> AsyncIterator[int]:
    """A worker that applies and fills, in this process; yields its indexer's pid."""
    lane = path.indexer_lane()
    async with path.applying(lane) as applier:

        async def tell() -> None:
            """Nothing else listens."""

        running = asyncio.create_task(FieldFiller(applier, tell).run())
        try:
            yield lane.load()["pids"][0]
        finally:
            running.cancel()
            await asyncio.wait([running])


@pytest.mark.parametrize("disturbance", ["writes", "a killed indexer", "a new worker"])
async def test_what_is_disturbed_goes_on(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path, disturbance: str
) -> None:
    """Writes amid are found at once, and when it is done; a kill costs time alone."""
    async with writing(redis_server, key_prefix, tmp_path) as path:
        uid = (await path.collections.put("books", {"fields": {"title": "text"}})).uid
        folders = [path.settings.data / "shards" / str(n) / uid for n in range(NUM_SHARDS)]
        expected = {f"d{n}" for n in range(NUM_FILLED)}
        async with filling(path) as indexer:
            await path.documents.load("books", ndjson(rows(0, NUM_FILLED)), "applied")
            await path.collections.add_fields("books", {"fields": ADDED})
            await until(lambda: any(filling_folder(one).exists() for one in folders))
            if disturbance == "writes":
                for first in range(NUM_FILLED, NUM_FILLED + 500, 100):
                    await path.documents.load("books", ndjson(rows(first, 100)), "applied")
                    expected |= {f"d{n}" for n in range(first, first + 100)}
                    assert path.indexed(uid) == sorted(expected)
                await path.documents.delete("books", "d7")
                expected.remove("d7")
            elif disturbance == "a killed indexer":
                os.kill(indexer, signal.SIGKILL)
            if disturbance != "a new worker":
                await until(lambda: all(map(has_author, folders)), 60)
        if disturbance == "a new worker":
            async with filling(path):
                await until(lambda: all(map(has_author, folders)), 60)
        assert path.indexed(uid) == sorted(expected)
        num_found = 0
        for folder in folders:
            index = TextIndex.open(folder)
            query = index.parse_native("author:author7")
            num_found += len(index.searcher.search(query, 100_000).hits)
        assert num_found == sum(one.endswith("7") for one in expected)
        assert not any(filling_folder(folder).exists() for folder in folders)


def has_author(folder: Path) -> bool:
    """Whether the index that is searched has the added fields."""
    return "author" in (TextIndex.open(folder).collection.fields or {})
