"""Which workers get the new shards of a split, with real workers."""

from collections.abc import Iterator
from functools import partial

import pytest

from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.registry import Registry
from tests.integration.support.beating import beating
from tests.integration.support.splits import document, everything, until_split
from tests.support.clusters import Cluster, cluster_of_its_own, gateway_to, load_into
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


TWO_REPLICAS = {
    "HEDGEROW_PLACEMENT__REPLICAS": "2",
    "HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S": "5.0",
}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three workers that join, for two replicas of one shard: one has none."""
    with cluster_of_its_own(
        num_shards=1, num_workers=3, joins=True, environment=TWO_REPLICAS
    ) as running:
        yield running


async def test_a_worker_without_old_shards_gets_no_new_ones_to_fill(cluster: Cluster) -> None:
    """It could not clone them: all documents would be copied. The others clone, and have all."""
    async with gateway_to(cluster) as gateway:

        async def owners() -> set[str]:
            found = await gateway.placement.describe()
            return {owner for shard in found["shards"] for owner in shard["owners"]}

        async def all_have_joined() -> bool:
            found = await gateway.placement.describe()
            return len(found["workers"]) == 3 and len(await owners()) == 2

        await until(all_have_joined, 60.0, what="three workers")
        before = await owners()
        await gateway.collections.put("books", {"fields": {"title": "text", "version": "integer"}})
        await load_into(gateway, "books", [document(number, 0) for number in range(300)])
        await gateway.splits.begin()
        await until_split(gateway, 2)
        assert await owners() == before
        assert await everything(gateway) == {f"d{number}": 0 for number in range(300)}


@pytest.fixture
def pair() -> Iterator[Cluster]:
    """Two workers that join, for two replicas of two shards; without snapshots."""
    environment = {**TWO_REPLICAS, "HEDGEROW_PLACEMENT__REPLACE_AFTER_S": "5.0"}
    with cluster_of_its_own(
        num_shards=2, num_workers=2, joins=True, environment=environment
    ) as running:
        yield running


async def test_a_replica_that_comes_back_during_a_split_gets_the_new_shards(pair: Cluster) -> None:
    """A split that began while one of two workers was lost ends with two replicas of each shard."""
    async with gateway_to(pair) as gateway:
        control = await connect(pair.settings.redis)
        registry = Registry(control, Keys())

        async def owners() -> list[list[str]]:
            found = await gateway.placement.describe()
            return [sorted(shard["owners"]) for shard in found["shards"]]

        async def are(*expected: str) -> bool:
            return await owners() == [[*expected]] * gateway.num_shards

        await until(partial(are, "w0", "w1"), 60.0, what="two replicas")
        await gateway.collections.put("books", {"fields": {"title": "text", "version": "integer"}})
        await load_into(gateway, "books", [document(number, 0) for number in range(300)])
        pair.kill(1)
        await until(partial(are, "w0"), 60.0, what="one replica")
        await gateway.splits.begin()
        new = PlacementStore(control, Keys().of_layout(1))

        async def is_placed() -> bool:
            return await new.read() is not None

        # Until it has gone, the split goes no further.
        async with beating(control, [registry], "pinned"):
            await until(is_placed, 60.0, what="a placement of the new shards")
            pair.start(1)
            await until(partial(are, "w0", "w1"), 60.0, what="two replicas of the old shards")
        await until_split(gateway, 4, 60.0)
        assert await are("w0", "w1")
        assert await everything(gateway) == {f"d{number}": 0 for number in range(300)}
        await control.close()
