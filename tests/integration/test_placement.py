"""Workers that join and the policy together: shards find their place by themselves."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.settings.placement import PlacementSettings
from hedgerow.common.settings.snapshots import SnapshotSettings
from hedgerow.gateway.gateway import Gateway
from tests.integration.support.placed import asking
from tests.integration.support.snapshots import documents, ids, make_snapshots
from tests.support.clusters import AS_ANY_OTHER, Cluster, load, running_cluster
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NUM_SHARDS = 6
REPLACE_AFTER_S = 3.0


@pytest.fixture
def cluster(own_server: RedisServer, tmp_path: Path) -> Iterator[Cluster]:
    """Three workers that join, with two replicas of each shard, and snapshots by command."""
    environment = {
        **AS_ANY_OTHER,
        "HEDGEROW_PLACEMENT__REPLICAS": "2",
        "HEDGEROW_PLACEMENT__REPLACE_AFTER_S": str(REPLACE_AFTER_S),
        "HEDGEROW_SNAPSHOTS__URL": str(tmp_path / "snapshots"),
        "HEDGEROW_SNAPSHOTS__INTERVAL_S": "0",
    }
    with running_cluster(
        own_server,
        tmp_path,
        num_shards=NUM_SHARDS,
        num_workers=3,
        joins=True,
        environment=environment,
    ) as running:
        yield running


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[Gateway]:
    """A gateway with the workers' settings of placement."""
    settings = cluster.settings.model_copy(
        update={
            "placement": PlacementSettings(replicas=2, replace_after_s=REPLACE_AFTER_S),
            "snapshots": SnapshotSettings(url=str(cluster.folder / "snapshots")),
        }
    )
    async with Gateway.connect(settings, num_shards=NUM_SHARDS) as gateway:
        yield gateway


async def until_balanced(gateway: Gateway, **owned: int) -> None:
    """Wait until these workers own, and serve, this number of shards, and nothing moves."""
    found: dict[str, Any] = {}

    async def is_balanced() -> bool:
        found.update(await gateway.placement.describe())
        have = {one["id"]: (one["owns"], one["serves"]) for one in found["workers"]}
        wanted = {worker: (number, number) for worker, number in owned.items()}
        return bool(found["is_settled"]) and wanted.items() <= have.items()

    try:
        await until(is_balanced, 90.0, what=f"{owned}")
    except BaseException:
        print(found)  # noqa: T201 - says how far it got
        raise


async def test_workers_that_start_in_any_order_become_a_whole_cluster(cluster: Cluster) -> None:
    """No worker has named a shard; after a while, each shard is on two of three workers."""
    async with connected(cluster) as gateway:
        await until_balanced(gateway, w0=4, w1=4, w2=4)
        shards = (await gateway.placement.describe())["shards"]
        assert all(sorted(one["owners"]) == one["serving"] for one in shards)
        assert all(len(one["owners"]) == 2 for one in shards)


async def test_a_drain_and_its_end_cost_no_answer_a_document(cluster: Cluster) -> None:
    """While a worker is drained, and then gets shards again, every answer is whole."""
    async with connected(cluster) as gateway:
        await until_balanced(gateway, w0=4, w1=4, w2=4)
        await load(gateway, "books", documents(0, 200))
        await make_snapshots(cluster.server, NUM_SHARDS)
        async with asking(gateway, "books", "common", num_askers=1) as questions:
            while len(questions.results) < 20:  # on a busy machine, few are answered in one round
                await gateway.placement.drain("w2")
                await until_balanced(gateway, w0=6, w1=6, w2=0)
                workers = (await gateway.placement.describe())["workers"]
                (state,) = [one for one in workers if one["id"] == "w2"]
                assert state["drained"]
                await gateway.placement.cancel_drain("w2")
                await until_balanced(gateway, w0=4, w1=4, w2=4)
        questions.check(ids(0, 200), 20)


async def test_a_killed_worker_is_replaced_and_a_new_one_is_used(cluster: Cluster) -> None:
    """The shards of a worker that is lost go to the others; one more worker takes its share."""
    async with connected(cluster) as gateway:
        await until_balanced(gateway, w0=4, w1=4, w2=4)
        await load(gateway, "books", documents(0, 200))
        await make_snapshots(cluster.server, NUM_SHARDS)
        cluster.lose(0)
        await until_balanced(gateway, w1=6, w2=6)
        cluster.start(3)
        await until_balanced(gateway, w1=4, w2=4, w3=4)
        async with asking(gateway, "books", "common", num_askers=1) as questions:
            await until(lambda: len(questions.results) >= 3)
        questions.check(ids(0, 200), 3)
