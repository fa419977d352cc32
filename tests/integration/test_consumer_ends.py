"""A consumer that drains, or whose server is lost: it ends or goes on, and no request is lost."""

import asyncio
import re

import pytest

from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.settings.redis import RedisSettings
from tests.integration.support.pulling import LONG_S, Slots, pulling
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration


async def test_draining_ends_a_blocked_pop_at_once(
    redis_server: RedisServer, key_prefix: str, endless_pops: None
) -> None:
    """A consumer that waits for requests stops without waiting for its pop to time out."""
    async with pulling(redis_server, key_prefix, Slots(free=1), LONG_S) as at_work:
        await until(lambda: at_work.consumer.is_pulling)
        await at_work.consumer.drain()
        assert at_work.task.done()


async def test_a_drain_that_overtakes_a_pop_ends_it_all_the_same(
    redis_server: RedisServer, key_prefix: str, endless_pops: None
) -> None:
    """A server that has not begun the pop finds nothing to end, and is asked again."""
    slots = Slots(free=0)
    async with pulling(redis_server, key_prefix, slots, LONG_S) as at_work:

        async def num_asked() -> int:
            stats: bytes = await at_work.link.call("INFO", "commandstats")
            found = re.search(rb"client\|unblock:calls=(\d+)", stats)
            return 0 if found is None else int(found[1])

        async def has_asked() -> bool:
            return await num_asked() >= before + 2

        before = await num_asked()
        await at_work.link.call("CLIENT", "PAUSE", 600_000, "WRITE")  # so it begins no pop
        slots.release(1)
        await until(lambda: at_work.consumer.is_pulling)
        drain = asyncio.create_task(at_work.consumer.drain())
        try:
            await until(has_asked)
        finally:
            await at_work.link.call("CLIENT", "UNPAUSE")
        async with asyncio.timeout(45):
            await drain


async def test_draining_takes_nothing_that_it_does_not_hand_over(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """Whenever a drain falls among pushes, each request was handed over or still waits."""
    for attempt in range(20):
        slots = Slots(free=1000)
        prefix = f"{key_prefix}-{attempt}"
        async with pulling(redis_server, prefix, slots) as at_work:
            await at_work.push(4, "first")
            pushes = asyncio.gather(*(at_work.push(4, f"r{number}") for number in range(20)))
            await asyncio.sleep(0.0002 * attempt)
            await at_work.consumer.drain()
            await pushes
            assert len(slots.pulled) + await at_work.waiting(4) == 21


async def test_draining_does_not_wait_for_room(redis_server: RedisServer, key_prefix: str) -> None:
    """A consumer whose lane is full, perhaps for ever, stops at once and holds no request."""
    slots = Slots(free=0)
    async with pulling(redis_server, key_prefix, slots) as at_work:
        await at_work.push(4, "a")
        await at_work.consumer.drain()
        assert at_work.task.done()
        assert await at_work.waiting(4) == 1


async def test_it_pulls_again_from_a_server_that_came_back(own_server: RedisServer) -> None:
    """After the server was killed and started again, requests are pulled without a restart."""
    slots = Slots(free=10)
    async with pulling(own_server, "p", slots) as at_work:
        await at_work.push(4, "before")
        await until(lambda: len(slots.pulled) == 1)
        own_server.stop(kill=True)
        await until(lambda: not at_work.link.is_connected)
        own_server.start()
        await until(lambda: at_work.link.is_connected)
        await at_work.push(4, "after")
        await until(lambda: len(slots.pulled) == 2)


async def test_nothing_is_pulled_that_could_not_be_answered(own_server: RedisServer) -> None:
    """While the connection for replies is lost, requests wait where other replicas take them."""
    slots = Slots(free=10)
    endpoint = Endpoint.of(RedisSettings(url=own_server.url))
    control = RedisConnection(endpoint, name="test-control", silence_s=5)
    try:
        async with pulling(own_server, "p", slots, control=control) as at_work:

            async def has_connected() -> bool:
                clients: bytes = await at_work.link.call("CLIENT", "LIST")
                return b"name=test-consumer" in clients

            await until(has_connected)
            await at_work.push(4, "a")
            for _ in range(20):
                assert await at_work.waiting(4) == 1
            await control.start(45)
            await until(lambda: len(slots.pulled) == 1)
    finally:
        await control.close()


async def test_waiting_for_requests_is_not_taken_for_silence(
    own_server: RedisServer, endless_pops: None
) -> None:
    """However short the command timeout is, an idle consumer keeps its connection."""
    async with pulling(own_server, "p", Slots(free=10), silence_s=2.0) as at_work:
        await until(lambda: at_work.consumer.is_pulling)

        async def number(section: str, of: str) -> int:
            found = re.search(of.encode() + rb"(\d+)", await at_work.link.call("INFO", section))
            return 0 if found is None else int(found[1])

        async def have_ended() -> bool:
            return await number("commandstats", "cmdstat_blmpop:calls=") >= before + 4

        before = await number("commandstats", "cmdstat_blmpop:calls=")
        num_connections = await number("stats", "total_connections_received:")
        await until(have_ended)  # together they take longer than what counts as silence
        assert await number("stats", "total_connections_received:") == num_connections
