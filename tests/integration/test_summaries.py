"""Summaries and their stamps on a real server: what several processes do to them at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import cast

import pytest

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.state.summaries import Stamped, SummaryStore, is_claim, is_of, stamp_of
from hedgerow.gateway.transport.stamp_check import StampCheck
from hedgerow.shard_worker.indexing import summary_turns
from hedgerow.shard_worker.indexing.summary_turns import SummaryTurns
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
async def control(own_server: RedisServer) -> AsyncIterator[RedisClient]:
    """A connection to the server."""
    control = await connect(RedisSettings(url=own_server.url, reconnect_max_s=0.1))
    yield control
    await control.close()


async def test_a_summary_is_stored_only_over_its_own_claim(
    control: RedisClient, key_prefix: str
) -> None:
    """A claim that was retracted, or that another has taken over, is lost; it may be repeated."""
    store = SummaryStore(control, Keys(key_prefix))
    identity = await store.identity()
    stamp = stamp_of(identity, "t").encode()
    assert await store.stamps("u", [0, 1]) == {0: b"", 1: b""}
    assert await store.claim("u", 0, b"", "t")
    assert await store.claim("u", 0, b"", "t")  # its first answer was lost
    assert not await store.claim("u", 0, b"", "other")
    assert await store.read("u", [0]) == {}
    assert is_claim((await store.stamps("u", [0]))[0])
    await store.retract(0, {"u", "v"})
    assert not await store.put("u", 0, "t", Stamped(stamp, b"summary"))
    assert await store.claim("u", 0, b"", "t")
    assert await store.put("u", 0, "t", Stamped(stamp, b"summary"))
    assert await store.put("u", 0, "t", Stamped(stamp, b"summary"))
    assert await store.read("u", [0, 1]) == {0: Stamped(stamp, b"summary")}
    assert is_of(stamp, identity)
    assert not is_of(stamp, "")
    await store.retract(0, {"u"})
    assert await store.read("u", [0]) == {}


async def test_after_a_restart_no_stamp_counts(
    control: RedisClient, own_server: RedisServer, key_prefix: str
) -> None:
    """The server may have lost that it was retracted, so its identity is another then."""
    keys = Keys(key_prefix)
    store, lost = SummaryStore(control, keys), asyncio.Event()
    check = StampCheck(control.primary, keys, "check", 1.0, lost.set)
    check.begin()
    try:
        await until(lambda: bool(check.identity))
        identity = check.identity
        assert identity == await store.identity() == await check.identify()
        await store.claim("u", 1, b"", "t")
        stamp = stamp_of(identity, "t").encode()
        await store.put("u", 1, "t", Stamped(stamp, b"summary"))
        assert await check.read("u", [0, 1]) == [None, stamp]
        own_server.stop()
        own_server.start()
        await asyncio.wait_for(lost.wait(), 60)
        with pytest.raises(RedisUnavailableError):
            await check.read("u", [0, 1])
        await until(lambda: bool(check.identity))
        assert check.identity != identity
        assert not is_of(stamp, await store.identity())
    finally:
        await check.close()


async def test_a_machine_makes_no_more_summaries_at_a_time_than_it_has_turns(
    control: RedisClient, key_prefix: str
) -> None:
    """A turn is free again when its worker has ended it, or hangs; each machine has its own."""

    def of(host: str, worker: str, lease_s: float = 30.0) -> SummaryTurns:
        keys = Keys(key_prefix)
        return SummaryTurns(control, keys, host=host, worker=worker, lease_s=lease_s, at_once=2)

    async def is_free(turns: SummaryTurns) -> bool:
        async with turns.turn(0) as has_turn:
            return has_turn

    one, second, third, elsewhere = of("a", "w1"), of("a", "w2"), of("a", "w3"), of("b", "w4")
    async with one.turn(1) as first_has, second.turn(2) as second_has:
        assert first_has
        assert second_has
        assert await is_free(elsewhere)
        for _ in range(2):  # what a worker has not got, it does not end
            assert not await is_free(third)
    await until(lambda: is_free(third))
    async with AsyncExitStack() as taken:

        async def takes(turns: SummaryTurns) -> bool:
            return await taken.enter_async_context(turns.turn(1))

        # What has ended is free a millisecond later.
        await until(lambda: takes(of("a", "w6")))
        await until(lambda: takes(of("a", "w5", 0.2)))  # hangs
        await until(lambda: is_free(third))


def test_a_machine_has_a_turn_for_each_two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one at least, so that summaries are made there at all."""
    control = cast("RedisClient", None)
    for cores, at_once in ((1, 1), (2, 1), (3, 1), (8, 4)):
        monkeypatch.setattr(summary_turns, "num_cores", lambda cores=cores: cores)
        assert SummaryTurns(control, Keys("k"), host="h", worker="w")._at_once == at_once
