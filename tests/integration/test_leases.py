"""Leases on a server whose clock is set back, which makes those that there are last for days."""

from collections.abc import AsyncIterator

import pytest

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.snapshots.status import SnapshotRecords
from hedgerow.common.state.reloading import LEASE_S, ReloadStore
from hedgerow.common.state.statistics import StatisticsStore
from hedgerow.common.state.versioned import hold_lease
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

DAY_MS = 86_400_000


@pytest.fixture
async def control(redis_server: RedisServer) -> AsyncIterator[RedisClient]:
    """A connection to the server."""
    control = await connect(RedisSettings(url=redis_server.url))
    yield control
    await control.close()


async def test_a_lease_ends_when_its_holder_does(control: RedisClient, key_prefix: str) -> None:
    """A lease that another holds is taken only if it lasts for longer than any is held."""
    key = Keys(key_prefix).placement_lease
    assert await hold_lease(control, key, "first", 30.0)
    assert not await hold_lease(control, key, "second", 30.0)
    # The clock is set back by a day, and the first holder has ended.
    await control.execute("PEXPIRE", key, DAY_MS)
    assert await hold_lease(control, key, "second", 30.0)
    assert not await hold_lease(control, key, "first", 30.0)
    assert 0 < await control.execute("PTTL", key) <= 30_000


async def test_a_snapshot_is_made_though_the_clock_was_set_back(
    control: RedisClient, key_prefix: str
) -> None:
    """If a maker ends before the clock is set back by a day, another one makes the snapshot."""
    keys, shard = Keys(key_prefix), 3
    records = SnapshotRecords(control, keys)
    assert await records.begin(shard, 0, "first")
    assert (await records.status([shard]))[shard].is_running
    assert not await records.begin(shard, 1, "second")
    await control.execute("PEXPIRE", keys.snapshot_lease(shard), DAY_MS)
    assert not (await records.status([shard]))[shard].is_running
    assert await records.begin(shard, 1, "second")
    assert not await records.renew(shard, "first")
    assert (await records.status([shard]))[shard].is_running


async def test_a_reload_can_begin_though_the_clock_was_set_back(
    control: RedisClient, key_prefix: str
) -> None:
    """The claim of a gateway that died before does not last for a day."""
    keys = Keys(key_prefix)
    store = ReloadStore(control, keys)
    assert await store.begin("first", {})
    assert not await store.begin("second", {})
    await control.execute("PEXPIRE", keys.reload_claim, DAY_MS)
    assert await store.begin("second", {})
    assert 0 < await control.execute("PTTL", keys.reload_claim) <= LEASE_S * 1000
    assert not await store.renew("first")
    assert await store.renew("second")


async def test_statistics_are_summed_though_the_clock_was_set_back(
    control: RedisClient, key_prefix: str
) -> None:
    """The claim of a worker that died before does not last for a day."""
    keys = Keys(key_prefix)
    store = StatisticsStore(control, keys)
    assert await store.claim_sum("u", b"version")
    assert not await store.claim_sum("u", b"version")
    await control.execute("PEXPIRE", keys.statistics_claim("u"), DAY_MS)
    assert await store.claim_sum("u", b"version")
    assert not await store.claim_sum("u", b"version")
    assert await store.claim_sum("u", b"another version")
