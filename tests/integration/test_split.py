"""A split of the shards of a running cluster, with real workers: nothing is lost, all is whole."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.gateway.gateway import Gateway
from tests.integration.support.splits import Writer, busy, document, everything, until_split
from tests.support.clusters import Cluster, all_live, ask, gateway_to, load, running_cluster
from tests.support.servers import RedisServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NUM_SHARDS = 2
FIELDS = {"fields": {"title": "text", "version": "i64"}}


@pytest.fixture
def cluster(own_server: RedisServer, tmp_path: Path) -> Iterator[Cluster]:
    """Two workers that join, with two replicas of each of two shards."""
    with running_cluster(
        own_server,
        tmp_path,
        num_shards=NUM_SHARDS,
        num_workers=2,
        joins=True,
        environment={"HEDGEROW_PLACEMENT__REPLICAS": "2"},
    ) as running:
        yield running


async def test_a_split_under_writes_loses_nothing(cluster: Cluster) -> None:
    """Inserts, updates, deletes and searches by two gateways go on: all is whole, once, and new."""
    async with gateway_to(cluster) as one, Gateway.connect(cluster.settings) as two:
        await all_live(two)
        await one.collections.put("books", FIELDS)
        await load(one, "books", [document(number, 0) for number in range(600)])
        writers = [
            Writer(one, range(100), random.Random(1)),
            Writer(two, range(100, 200), random.Random(2)),
        ]
        async with busy(writers, [one, two]):
            await one.splits.begin()
            found = await until_split(one, 2 * NUM_SHARDS)
            await until_split(two, 2 * NUM_SHARDS)
        assert found["last_split"]["error"] is None
        expected = {f"d{number}": 0 for number in range(600)}
        for writer in writers:
            for key, version in writer.acknowledged.items():
                expected.pop(key, None)
                if version is not None:
                    expected[key] = version
        assert await everything(one) == expected
        assert await everything(two) == expected
        assert min(writer.num_writes for writer in writers) > 10
