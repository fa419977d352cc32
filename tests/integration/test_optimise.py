"""Optimising real clusters' indexes: every replica does it, whatever is written or killed amid."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.errors import NotFoundError
from hedgerow.common.state.optimising import OptimisingStore
from hedgerow.gateway.gateway import Gateway
from hedgerow.shard_worker.indexing.optimiser import Optimiser
from hedgerow.shard_worker.storage.text_index import TextIndex
from tests.integration.support.write_path import NUM_SHARDS, WritePath, writing
from tests.support.clusters import Cluster, ask, cluster_of_its_own, gateway_to, load, ndjson
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NUM_REPLICAS = 4  # two shards, each on both of two workers


def rows(first: int, count: int = 40) -> list[dict[str, Any]]:
    """Some documents, all of which have the word "hedge"."""
    return [{"id": f"d{n}", "title": f"hedge number {n}"} for n in range(first, first + count)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One cluster for the module; each test leaves it whole, and has a collection of its own."""
    with cluster_of_its_own(num_shards=2, num_replicas=2) as cluster:
        yield cluster


@asynccontextmanager
async def filled(cluster: Cluster, name: str) -> AsyncIterator[Gateway]:
    """A gateway to the whole cluster, which has a collection in several segments a shard."""
    async with gateway_to(cluster) as gateway:
        await until(lambda: num_live(gateway) == NUM_REPLICAS)
        for batch in range(5):
            await load(gateway, name, rows(batch * 40))
        yield gateway
        await gateway.collections.drop(name)


def num_live(gateway: Gateway) -> int:
    """How many replicas are live, of both shards together."""
    return sum(gateway._membership.num_replicas(shard) for shard in range(2))


async def index_of(gateway: Gateway, name: str) -> dict[str, Any]:
    """How a collection's indexes are, by the status."""
    status = await gateway.status()
    (index,) = (one["index"] for one in status["collections"] if one["name"] == name)
    return dict(index)


async def optimise(gateway: Gateway, name: str) -> dict[str, Any]:
    """Ask, wait until no replica is waited for, and return how the indexes are then."""
    wanted_at_ms = (await gateway.optimiser.ask(name))["wanted_at_ms"]
    index: dict[str, Any] = {}

    async def is_done() -> bool:
        index.update(await index_of(gateway, name))
        return bool(index["waiting"] == 0 and index["wanted_at_ms"] == wanted_at_ms)

    await until(is_done)
    return index


async def test_every_replica_optimises_and_answers_as_before(cluster: Cluster) -> None:
    """Segments are joined in all four indexes; hits, scores and counts are the same, and whole."""
    async with filled(cluster, "all") as gateway:
        before = await ask(gateway, "all", "hedge number 77", k=50)
        uid = gateway.collections.get("all").uid
        folders = list(cluster.folder.glob(f"data-*/shards/*/{uid}"))
        assert len(folders) == NUM_REPLICAS
        assert all(TextIndex.open(folder).num_segments > 2 for folder in folders)
        index = await optimise(gateway, "all")
        assert 1 <= index["segments"] <= 2  # of documents, and perhaps of padding
        assert all(TextIndex.open(folder).num_segments <= 2 for folder in folders)
        after = await ask(gateway, "all", "hedge number 77", k=50)
        assert (after.hits, after.total_hits) == (before.hits, before.total_hits)
        assert after.coverage.fraction == 1.0
        await load(gateway, "all", rows(1000, 1))
        assert [hit.id for hit in (await ask(gateway, "all", "1000")).hits] == ["d1000"]


async def test_a_collection_that_there_is_none_of(cluster: Cluster) -> None:
    """Asking for it is an error of the caller's."""
    async with gateway_to(cluster) as gateway:
        with pytest.raises(NotFoundError, match="nothing"):
            await gateway.optimiser.ask("nothing")


async def test_a_worker_that_was_away_optimises_when_it_is_back(cluster: Cluster) -> None:
    """What was asked for while it was killed is not forgotten."""
    async with filled(cluster, "away") as gateway:
        cluster.kill(1)
        await until(lambda: num_live(gateway) == NUM_REPLICAS // 2)
        await optimise(gateway, "away")
        cluster.start(1)
        await until(lambda: num_live(gateway) == NUM_REPLICAS)

        async def is_done() -> bool:
            index = await index_of(gateway, "away")
            return bool(index["waiting"] == 0 and index["segments"] <= 2)

        await until(is_done)


async def test_a_dropped_collection_leaves_no_trace_of_it(cluster: Cluster) -> None:
    """No key is left: not the request's, nor one of a replica that is done late."""
    async with filled(cluster, "gone") as gateway:
        await optimise(gateway, "gone")
        uid = gateway.collections.get("gone").uid
        board = OptimisingStore(gateway._control, gateway._registry.keys)
        assert len((await board.status([uid]))[uid].done) == NUM_REPLICAS
        await gateway.collections.drop("gone")
        await board.set_done(uid, "late", 10**15)
        assert (await board.status([uid]))[uid] == (0, {})
        await gateway.collections.put("gone", {})  # for the fixture to drop


@asynccontextmanager
async def optimising(path: WritePath) -> AsyncIterator[int]:
    """A worker that applies and optimises, in this process; yields its indexer's pid."""
    lane = path.indexer_lane()
    async with path.applying(lane) as applier:

        async def tell() -> None:
            """No listener is there."""

        optimiser = Optimiser(path.control, path.keys, applier, path.settings, tell)
        running = asyncio.create_task(optimiser.run())
        try:
            yield lane.load()["pids"][0]
        finally:
            running.cancel()
            await asyncio.wait([running])


@pytest.mark.parametrize("disturbance", ["a write", "a killed indexer"])
async def test_what_is_disturbed_is_tried_again(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path, disturbance: str
) -> None:
    """Writes are found when their load returns, a kill costs time alone; in the end it is done."""
    async with writing(redis_server, key_prefix, tmp_path) as path, optimising(path) as indexer:
        uid = (await path.collections.put("books", {"fields": {"title": "text"}})).uid
        expected = {f"d{n}" for n in range(15_000)}  # to join them takes some tenths of a second
        for first in range(0, 15_000, 5_000):
            await path.documents.load("books", ndjson(rows(first, 5_000)), "applied")
        board = OptimisingStore(path.control, path.keys)
        wanted_at_ms = await board.want(uid)
        folders = [path.settings.data / "shards" / str(n) / uid for n in range(NUM_SHARDS)]
        await until(lambda: any(map(is_being_written, folders)))
        if disturbance == "a write":
            await path.documents.load("books", ndjson(rows(15_000, 100)), "applied")
            expected |= {f"d{n}" for n in range(15_000, 15_100)}
        else:
            os.kill(indexer, signal.SIGKILL)
        assert path.indexed(uid) == sorted(expected)

        async def is_done() -> bool:
            return len((await board.status([uid]))[uid].done) == NUM_SHARDS

        await until(is_done, 60)
        assert set((await board.status([uid]))[uid].done.values()) == {wanted_at_ms}
        assert path.indexed(uid) == sorted(expected)
        assert [TextIndex.open(folder).num_segments for folder in folders] == [1, 1]


def is_being_written(folder: Path) -> bool:
    """Whether a segment has been begun that is not committed."""
    names = {path.name.partition(".")[0] for path in folder.glob("*.store")}
    return len(names) > TextIndex.open(folder).num_segments
