"""When the new shards of a split are summarised, with a real worker."""

from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from hedgerow.common.partition import shard_of
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.summaries import SummaryStore, is_of
from tests.integration.support.beating import beating
from tests.integration.support.splits import document, until_split
from tests.support.clusters import Cluster, cluster_of_its_own, gateway_to, load_into
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

OLD, NEW = range(2), range(4)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A worker that joins, with two shards."""
    with cluster_of_its_own(num_shards=len(OLD), num_workers=1, joins=True) as running:
        yield running


async def test_new_shards_are_summarised_when_they_are_searched(cluster: Cluster) -> None:
    """Before that, a summary would not be read. Those of the old shards are renewed as usual."""
    control = await connect(cluster.settings.redis)
    registries = [Registry(control, Keys().of_layout(number)) for number in range(2)]
    old, new = (SummaryStore(control, Keys().of_layout(number)) for number in range(2))
    in_first = [number for number in range(300) if shard_of(f"d{number}", len(OLD)) == 0]
    async with gateway_to(cluster) as gateway:
        await gateway.collections.put("books", {"fields": {"title": "text", "version": "integer"}})
        await load_into(gateway, "books", [document(number, 0) for number in range(300)])
        [uid] = await registries[0].uids()
        identity = await old.identity()

        async def are_valid(store: SummaryStore, shards: Sequence[int]) -> bool:
            return all(is_of(one, identity) for one in (await store.stamps(uid, shards)).values())

        async def is_after(stamp: bytes) -> bool:
            return await are_valid(old, [0]) and (await old.stamps(uid, [0]))[0] != stamp

        await until(partial(are_valid, old, OLD), 60.0, what="summaries of the old shards")
        await gateway.splits.begin()

        async def are_served() -> bool:
            live = await registries[1].live_heartbeats(60.0)
            return {shard for one in live.values() for shard in one.shards} == set(NEW)

        # Until it has gone, the split goes no further.
        async with beating(control, registries[:1], "pinned"):
            await until(are_served, 60.0, what="the new shards")
            for version in (
                1,
                2,
                3,
            ):  # each takes a second in which nothing is written to the shard
                before = (await old.stamps(uid, [0]))[0]
                await load_into(gateway, "books", [document(in_first[0], version)])
                await until(partial(is_after, before), 60.0, what="another summary")
            assert set((await new.stamps(uid, NEW)).values()) == {b""}
        await until_split(gateway, len(NEW), 60.0)
        await until(partial(are_valid, new, NEW), 60.0, what="summaries of the new shards")
    await control.close()
