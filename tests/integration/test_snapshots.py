"""Snapshots of a cluster of real workers, and what comes back from them."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from common.control import connect
from common.errors import HedgerowError
from common.keys import Keys
from common.log import ShardLog
from common.snapshot_board import SnapshotBoard, SnapshotFacts
from gateway.service import Gateway
from tests.integration.cluster import Cluster, ask, gateway_to, load, running_cluster
from tests.servers import RedisServer, running_server
from tests.waiting import until

pytestmark = pytest.mark.integration

NUM_SHARDS = 2
PREFIX = "hedgerow"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server of this test's own, which forgets everything when it is stopped."""
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as started:
        yield started


@pytest.fixture
def cluster(server: RedisServer, tmp_path: Path) -> Iterator[Cluster]:
    """Two workers with a shard each, whose snapshots are made by command."""
    environment = {
        "HEDGEROW_SNAPSHOTS__URL": str(tmp_path / "snapshots"),
        "HEDGEROW_SNAPSHOTS__INTERVAL_S": "0",
    }
    with running_cluster(
        server, tmp_path, num_shards=NUM_SHARDS, environment=environment
    ) as running:
        yield running


@asynccontextmanager
async def boarding(server: RedisServer) -> AsyncIterator[tuple[SnapshotBoard, ShardLog]]:
    """What Redis knows of the snapshots and logs."""
    settings = Cluster(server, Path()).settings.redis
    control = await connect(settings)
    try:
        yield SnapshotBoard(control, Keys(PREFIX)), ShardLog(control, Keys(PREFIX))
    finally:
        await control.close()


async def make_snapshots(server: RedisServer) -> dict[int, SnapshotFacts]:
    """Ask for a snapshot of every shard, and wait until each is complete."""
    async with boarding(server) as (board, _):
        asked_at_ms = await board.want(range(NUM_SHARDS))

        async def newest() -> dict[int, SnapshotFacts]:
            standing = await board.standing(range(NUM_SHARDS))
            return {shard: one.newest for shard, one in standing.items() if one.newest}

        async def are_made() -> bool:
            found = await newest()
            return len(found) == NUM_SHARDS and all(
                one.made_at_ms >= asked_at_ms for one in found.values()
            )

        await until(are_made, 30)
        return await newest()


def documents(first: int, last: int) -> list[dict[str, Any]]:
    """Documents with a word that all have and one of their own."""
    return [{"id": f"d{n}", "text": f"common word{n}"} for n in range(first, last)]


async def found(gateway: Gateway, query: str = "common") -> set[str]:
    """The ids of all that match, with full coverage."""
    result = await ask(gateway, "books", query, k=1000, deadline_ms=5000.0)
    assert result.coverage.fraction == 1.0, result.coverage
    assert all(hit.fields for hit in result.hits)
    return {hit.id for hit in result.hits}


def ids(first: int, last: int) -> set[str]:
    """The ids of `documents`."""
    return {one["id"] for one in documents(first, last)}


def lose_disks(cluster: Cluster) -> None:
    """Kill every worker, and remove its data folder."""
    for worker in list(cluster.workers):
        cluster.kill(worker)
        shutil.rmtree(cluster.data(worker))


def restart(cluster: Cluster) -> None:
    """Start every worker anew."""
    for worker in range(cluster.num_workers):
        cluster.start(worker)


async def test_lost_disks_come_back_with_every_document(cluster: Cluster) -> None:
    """With Redis kept, what was written after the snapshot is in the log: nothing is missing."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "books", documents(0, 200))
        made = await make_snapshots(cluster.server)
        assert sum(one.documents for one in made.values()) == 200
        await load(gateway, "books", documents(150, 260))
        await gateway.documents.delete("books", "d3")
    lose_disks(cluster)
    restart(cluster)
    expected = ids(0, 260) - {"d3"}
    async with gateway_to(cluster) as gateway:
        await until(lambda: is_found(gateway, expected), 20)
        await load(gateway, "books", documents(260, 270))
        assert await found(gateway) == expected | ids(260, 270)


async def is_found(gateway: Gateway, expected: set[str]) -> bool:
    """Whether exactly these are found; workers that were just killed may still count as live."""
    try:
        result = await ask(gateway, "books", "common", k=1000)
    except (HedgerowError, TimeoutError):
        return False
    return result.coverage.fraction == 1.0 and {hit.id for hit in result.hits} == expected


async def test_a_lost_redis_as_well_leaves_what_the_snapshot_has(cluster: Cluster) -> None:
    """Definitions and documents are those of the snapshot, and new writes are not passed over."""
    async with gateway_to(cluster) as gateway:
        await load(gateway, "books", documents(0, 200))
        await make_snapshots(cluster.server)
        await load(gateway, "books", documents(200, 220))
    lose_disks(cluster)
    cluster.server.stop(kill=True)
    cluster.server.start()
    restart(cluster)
    async with gateway_to(cluster) as gateway:
        await until(lambda: bool(gateway.collections.names()))
        await until(lambda: is_found(gateway, ids(0, 200)), 20)
        await load(gateway, "books", documents(300, 330))
        assert await found(gateway) == ids(0, 200) | ids(300, 330)
