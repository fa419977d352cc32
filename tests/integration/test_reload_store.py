"""The claim of a reload, on a real server: a gateway that has died holds none for long."""

from collections.abc import AsyncIterator

import pytest

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.state.reloading import LEASE_S, ReloadStore
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration


@pytest.fixture
async def control(redis_server: RedisServer) -> AsyncIterator[RedisClient]:
    """A connection to the server."""
    control = await connect(RedisSettings(url=redis_server.url))
    yield control
    await control.close()


async def test_a_gateway_that_dies_blocks_reloads_for_seconds(
    control: RedisClient, key_prefix: str
) -> None:
    """Its claim expires, unless it is renewed; then another reload begins."""
    keys = Keys(key_prefix)
    store = ReloadStore(control, keys)
    assert await store.begin("a", {})
    assert not await store.begin("b", {})
    assert 0 < await control.execute("TTL", keys.reload_claim) <= LEASE_S
    await control.execute("EXPIRE", keys.reload_claim, 1)
    assert await store.renew("a")
    assert await control.execute("PTTL", keys.reload_claim) > 1000
    await control.execute("DEL", keys.reload_claim)  # as it does when it expires
    assert not await store.renew("a")
    assert await store.begin("b", {})


async def test_a_late_gateway_does_not_end_the_reload_of_another(
    control: RedisClient, key_prefix: str
) -> None:
    """A claim is renewed and released only by the reload that holds it."""
    store = ReloadStore(control, Keys(key_prefix))
    assert await store.begin("b", {})
    assert not await store.renew("a")
    await store.end("a")
    assert not await store.begin("c", {})
    await store.end("b")
    assert await store.begin("c", {})
