"""Which workers get the new shards of a split, with real workers."""

from collections.abc import Iterator

import pytest

from tests.integration.support.splits import document, everything, until_split
from tests.support.clusters import Cluster, cluster_of_its_own, gateway_to, load_into
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three workers that join, for two replicas of one shard: one has none."""
    environment = {
        "HEDGEROW_PLACEMENT__REPLICAS": "2",
        "HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S": "5.0",
    }
    with cluster_of_its_own(
        num_shards=1, num_workers=3, joins=True, environment=environment
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
