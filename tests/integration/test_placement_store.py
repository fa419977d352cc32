"""The placement on a real server: what several workers do to it at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
import pytest

from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.common.placement.store import DRAINING, PlacementStore
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.shared_events import RECONNECTED
from hedgerow.common.settings.redis import RedisSettings
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

FIRST = Placement(1, 2, 1, 5, (ShardPlacement(("a",)), ShardPlacement(joining=("b",))))


@pytest.fixture
async def control(redis_server: RedisServer) -> AsyncIterator[RedisClient]:
    """A connection to the server."""
    control = await connect(RedisSettings(url=redis_server.url))
    yield control
    await control.close()


async def test_a_version_replaces_only_the_one_that_was_read(
    control: RedisClient, key_prefix: str
) -> None:
    """A version that was computed from an older one is refused, and nothing changes."""
    store = PlacementStore(control, Keys(key_prefix))
    second = msgspec.structs.replace(FIRST, version=2, computed_at_ms=6)
    assert await store.read() is None
    assert not await store.write(second, 1)
    assert await store.write(FIRST, 0)
    assert await store.read() == FIRST
    other = msgspec.structs.replace(FIRST, computed_at_ms=7)
    assert not await store.write(other, 0)
    assert await store.write(second, 1)
    assert not await store.write(msgspec.structs.replace(FIRST, version=12), 11)
    assert await store.read() == second


async def test_a_write_whose_answer_was_lost_succeeds(
    control: RedisClient, key_prefix: str
) -> None:
    """Writing the stored version again, as after a lost answer, is a success."""
    store = PlacementStore(control, Keys(key_prefix))
    assert await store.write(FIRST, 0)
    assert await store.write(FIRST, 0)


async def test_of_workers_that_write_at_once_one_succeeds(
    control: RedisClient, key_prefix: str
) -> None:
    """Each has read the same; one version of ten is stored."""
    store = PlacementStore(control, Keys(key_prefix))
    versions = [msgspec.structs.replace(FIRST, computed_at_ms=n) for n in range(10)]
    done = await asyncio.gather(*(store.write(version, 0) for version in versions))
    assert sum(done) == 1
    assert await store.read() == versions[done.index(True)]


async def test_changes_are_announced(control: RedisClient, key_prefix: str) -> None:
    """A new version and a change of who drains each have an event; a refused version has none."""
    keys = Keys(key_prefix)
    store = PlacementStore(control, keys)
    async with aclosing(control.events(keys.events)) as events:
        assert await anext(events) == RECONNECTED
        await store.write(FIRST, 0)
        await store.write(msgspec.structs.replace(FIRST, computed_at_ms=7), 0)
        await store.set_draining("a", is_draining=True)
        assert [await anext(events), await anext(events)] == [b"placement:1", DRAINING.encode()]


async def test_draining_is_remembered_until_it_is_cancelled(
    control: RedisClient, key_prefix: str
) -> None:
    """A worker that drains is in the set once, however often it is asked for."""
    store = PlacementStore(control, Keys(key_prefix))
    await store.set_draining("a b", is_draining=True)
    await store.set_draining("a b", is_draining=True)
    await store.set_draining("c", is_draining=True)
    assert await store.draining() == {"a b", "c"}
    await store.set_draining("a b", is_draining=False)
    assert await store.draining() == {"c"}
