"""With which term statistics the new shards of a split begin, on a real server."""

from collections.abc import AsyncIterator

import pytest

from hedgerow.common.collection import define
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.shard_log.entries import START
from hedgerow.common.state.statistics import StatisticsStore, version_of
from tests.integration.support.split_scene import NUM_NEW, NUM_OLD, Scene, connected
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

OLD = {shard: f"old{shard}:1" for shard in range(NUM_OLD)}
NEW = {shard: f"new{shard}:1" for shard in range(NUM_NEW)}


@pytest.fixture
async def scene(redis_server: RedisServer, key_prefix: str) -> AsyncIterator[Scene]:
    """A cluster whose split has begun."""
    settings = RedisSettings(url=redis_server.url, key_prefix=key_prefix)
    async with connected(settings) as found:
        yield found


async def test_new_shards_begin_with_the_statistics_of_the_old_ones(scene: Scene) -> None:
    """They are fitted to them while they are made; yet these do not count as their own."""
    made = await scene.registries[0].create_collection(define("books", {}), NUM_OLD)
    old, new = (StatisticsStore(scene.control, scene.keys.of_layout(one)) for one in (0, 1))
    await old.put_sum(made.uid, OLD, b"of the old shards", b"")
    await scene.begin()
    await scene.driver().step(await scene.layout())
    assert await new.sum_of(made.uid) == (version_of(OLD), b"of the old shards")
    await new.put_shard(made.uid, 0, NEW[0], b"of one", START)
    assert not (await new.status([made.uid], NUM_NEW))[made.uid].is_current


async def test_statistics_of_their_own_are_kept(scene: Scene) -> None:
    """A driver that takes over does not replace them."""
    made = await scene.registries[0].create_collection(define("books", {}), NUM_OLD)
    old, new = (StatisticsStore(scene.control, scene.keys.of_layout(one)) for one in (0, 1))
    await old.put_sum(made.uid, OLD, b"of the old shards", b"")
    await new.put_sum(made.uid, NEW, b"of the new shards", b"")
    await scene.begin()
    await scene.driver().step(await scene.layout())
    assert await new.sum_of(made.uid) == (version_of(NEW), b"of the new shards")
