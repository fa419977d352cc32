"""In a split with snapshots, one replica of each new shard is cloned, and the others restore it."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.gateway.gateway import Gateway
from tests.integration.support.splits import document, everything, until_split
from tests.support.clusters import (
    AS_ANY_OTHER,
    Cluster,
    gateway_to,
    load_into,
    running_cluster,
)
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

NUM_SHARDS = 2
NEW = range(2 * NUM_SHARDS)
KEYS = Keys().of_layout(1)
ALL = {f"d{number}": 0 for number in range(600)}


@pytest.fixture
def cluster(
    request: pytest.FixtureRequest, own_server: RedisServer, tmp_path: Path
) -> Iterator[Cluster]:
    """Two workers that join, with two replicas of each of two shards, and with snapshots.

    A parameter is the environment that the first worker alone has.
    """
    with running_cluster(
        own_server,
        tmp_path,
        first_has=getattr(request, "param", {}),
        num_shards=NUM_SHARDS,
        num_workers=2,
        joins=True,
        log=Path("workers.log"),
        environment={
            **AS_ANY_OTHER,
            "HEDGEROW_PLACEMENT__REPLICAS": "2",
            "HEDGEROW_SNAPSHOTS__URL": str(tmp_path / "snapshots"),
            "HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S": "5.0",
        },
    ) as running:
        yield running


def count(cluster: Cluster, event: str) -> Counter[int]:
    """Shard → how often the workers have logged an event about it."""
    assert cluster.log is not None
    lines = cluster.log.read_text(encoding="utf-8").splitlines()
    found = [re.search(r"\bshard=(\d+)", line) for line in lines if f" {event} " in line]
    return Counter(int(one[1]) for one in found if one)


@asynccontextmanager
async def filled(cluster: Cluster) -> AsyncIterator[Gateway]:
    """A gateway to the cluster, which has documents."""
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("books", {"fields": {"title": "text", "version": "integer"}})
        await load_into(gateway, "books", [document(number, 0) for number in range(len(ALL))])
        yield gateway


@pytest.fixture
async def control(cluster: Cluster) -> AsyncIterator[RedisClient]:
    """A connection to its Redis."""
    control = await connect(cluster.settings.redis)
    yield control
    await control.close()


async def test_each_new_shard_is_cloned_once_and_restored_elsewhere(cluster: Cluster) -> None:
    """The other replica has a snapshot of the clone, and all documents are there."""
    async with filled(cluster) as gateway:
        await gateway.splits.begin()
        await until_split(gateway, len(NEW))
        once = Counter(NEW)
        assert count(cluster, "shard_cloned") == once
        assert count(cluster, "shard_restored") == once
        assert await everything(gateway) == ALL


async def test_a_worker_that_is_killed_before_its_snapshot_is_not_waited_for(
    cluster: Cluster, control: RedisClient
) -> None:
    """The other one clones its shard, too, once the lease has expired; the split ends whole."""
    # With such a count, no attempt is the next one, and none is begun.
    await control.pipeline([("HSET", KEYS.snapshots(shard), "begun", "many") for shard in NEW])
    async with filled(cluster) as gateway:
        await gateway.splits.begin()
        left: list[int] = []

        async def is_one_left() -> bool:
            cloned = list(count(cluster, "shard_cloned"))
            holders = [await control.execute("GET", KEYS.clone_lease(one)) for one in cloned]
            left.extend(one for one, by in zip(cloned, holders, strict=True) if by == b"w0")
            return bool(left)

        await until(is_one_left, 60.0, what="a clone in the first worker")
        cluster.kill(0)
        await control.execute("DEL", KEYS.clone_lease(left[0]))  # as time would
        is_cloned_again = partial(is_cloned_twice, cluster, left[0])
        await until(is_cloned_again, 60.0, what="a clone in the other worker")
        cluster.start(0)
        await until_split(gateway, len(NEW))
        assert await everything(gateway) == ALL


def is_cloned_twice(cluster: Cluster, shard: int) -> bool:
    """Whether both workers have cloned a shard."""
    return count(cluster, "shard_cloned")[shard] == 2


async def test_every_replica_is_cloned_if_the_snapshots_fail(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The split does not wait for a store that refuses them."""
    async with filled(cluster) as gateway:
        (tmp_path / "snapshots").mkdir(exist_ok=True)
        (tmp_path / "snapshots" / KEYS.folder).write_text("a file where a folder should be")
        await gateway.splits.begin()
        await until_split(gateway, len(NEW))
        assert count(cluster, "shard_cloned") == Counter([*NEW, *NEW])
        assert not count(cluster, "shard_restored")
        assert await everything(gateway) == ALL


@pytest.mark.parametrize(
    "cluster", [{"HEDGEROW_SNAPSHOTS__KEY": "a-key-that-no-other-has"}], indirect=True
)
async def test_a_replica_is_cloned_if_a_snapshot_cannot_be_used(cluster: Cluster) -> None:
    """A worker that cannot restore what another has made goes on with what it has."""
    async with filled(cluster) as gateway:
        await gateway.splits.begin()
        await until_split(gateway, len(NEW))
        cloned, restored = count(cluster, "shard_cloned"), count(cluster, "shard_restored")
        assert cloned + restored == Counter([*NEW, *NEW])
        assert cloned > Counter(NEW), "one worker does not find the other one's signature"
        assert await everything(gateway) == ALL


async def test_a_cancelled_split_leaves_a_cluster_that_can_be_split(cluster: Cluster) -> None:
    """Snapshots of the shards that were given up are not mistaken for those of the next ones."""
    async with filled(cluster) as gateway:
        await gateway.splits.begin()
        await until(lambda: bool(count(cluster, "snapshot_made")), 60.0, what="a snapshot")
        await gateway.splits.cancel()
        await until_split(gateway, NUM_SHARDS)
        await gateway.documents.delete("books", "d0", "applied")
        await gateway.splits.begin()
        await until_split(gateway, len(NEW))
        assert await everything(gateway) == {one: 0 for one in ALL if one != "d0"}
