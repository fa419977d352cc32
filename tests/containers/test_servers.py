"""Hedgerow's two connections against the servers that people run, with just the documented rights.

Each test runs against Valkey and against Redis.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import CommandError
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.handshake import Handshake
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.shared_events import RECONNECTED
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.shard_log.entries import START
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.operations import Delete, pack_op
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat
from tests.containers.container_servers import Server, running_container

pytestmark = pytest.mark.containers

PATIENCE_S = 20.0


@pytest.fixture
def server(server_image: str, password: str, key_prefix: str) -> Iterator[Server]:
    """A server of its own for each test, since the tests kill it."""
    with running_container(server_image, password, key_prefix) as running:
        yield running


@asynccontextmanager
async def connected(settings: RedisSettings) -> AsyncIterator[RedisClient]:
    """The control connection, once the server has started."""
    control = await connect(settings, wait_s=PATIENCE_S)
    try:
        yield control
    finally:
        await control.close()


@asynccontextmanager
async def linked(settings: RedisSettings) -> AsyncIterator[RedisConnection]:
    """The data plane's connection, once the server has started."""
    link = RedisConnection(Endpoint.of(settings), name="test", silence_s=2.0)
    await link.start(timeout_s=PATIENCE_S)
    try:
        yield link
    finally:
        await link.close()


async def test_the_server_names_itself_and_its_version(server: Server, server_image: str) -> None:
    """The check at the start reads the version that the image is tagged with."""
    async with connected(server.settings) as control:
        name, _, version = server_image.rpartition("/")[2].partition(":")
        assert control.server.name == name
        assert control.server.version.startswith(f"{version}.")


async def test_a_wrong_password_is_said_to_be_wrong(server: Server) -> None:
    """The error says what was refused, and that trying again is of no use."""
    async with connected(server.settings):
        pass
    for wrong in ({"password": None, "username": None}, {"password": "guess"}):
        settings = RedisSettings(**{**server.settings.model_dump(), **wrong})
        with pytest.raises(ConfigurationError, match=r"(?i)auth|password"):
            await connect(settings)


async def test_the_documented_rights_suffice_for_the_control_plane(server: Server) -> None:
    """Cluster facts, heartbeats, counts and logs work for the ACL user of docs/redis.md."""
    keys = Keys(server.settings.key_prefix)
    async with connected(server.settings) as control:
        registry, log = Registry(control, keys), ShardLog(control, keys)
        assert await registry.cluster(4) == 4
        heartbeat = Heartbeat("w", 1, "h", [0], "0", beat_at_ms=1, started_at_ms=1)
        await registry.beat(heartbeat)
        assert await registry.heartbeats() == {"w": heartbeat}
        await registry.set_document_counts(3, {"uid": 17})
        assert await registry.document_counts("uid") == {3: 17}

        appended = await log.append(0, pack_op(Delete("uid", ["a"])))
        assert [entry.id for entry in await log.read(0, START, max_bytes=1000)] == [appended.id]
        await log.record_applied(0, "replica", appended.id)
        await log.trim_to(0, appended.id)
        assert await log.read(0, START, max_bytes=1000) == []

    # … and for nothing beside: another cluster's keys on the same server are out of reach.
    async with connected(server.settings) as control:
        with pytest.raises(ConfigurationError, match=r"NOPERM|permission"):
            await control.execute("GET", "somebody-else:key")
        with pytest.raises(ConfigurationError, match=r"NOPERM|permission"):
            await control.execute("FLUSHALL")


async def test_the_documented_rights_suffice_for_the_data_plane(server: Server) -> None:
    """A request and its reply travel, and a blocking pop is ended from another connection."""
    keys = Keys(server.settings.key_prefix)
    heard: asyncio.Queue[list[bytes]] = asyncio.Queue()

    def hear(message: Any) -> None:
        if isinstance(message, list) and message[0] != b"pong":  # pings keep the connection watched
            heard.put_nowait(message)

    async def subscribe(handshake: Handshake) -> None:
        handshake.subscribe(keys.reply_channel("g"))

    subscriber = RedisConnection(
        Endpoint.of(server.settings),
        name="replies",
        silence_s=2.0,
        on_connect=subscribe,
        on_message=hear,
    )
    async with linked(server.settings) as gateway, linked(server.settings) as worker:
        await subscriber.start(timeout_s=PATIENCE_S)
        try:
            assert (await heard.get())[0] == b"subscribe"
            queue = keys.search_queue(0)
            client = await worker.call("CLIENT", "ID")
            pop = asyncio.create_task(
                worker.call("BLMPOP", PATIENCE_S, 1, queue, "LEFT", "COUNT", 64)
            )
            assert await gateway.call("RPUSH", queue, b"request") == 1
            assert await pop == [queue.encode(), [b"request"]]
            await gateway.call("EXPIRE", queue, 60)
            assert await worker.call("PUBLISH", keys.reply_channel("g"), b"reply") == 1
            assert await heard.get() == [b"message", keys.reply_channel("g").encode(), b"reply"]

            pop = asyncio.create_task(worker.call("BLMPOP", PATIENCE_S, 1, queue, "LEFT"))
            while not await gateway.call("CLIENT", "UNBLOCK", client):
                assert not pop.done()
            assert await pop is None
        finally:
            await subscriber.close()


async def test_the_data_plane_outlives_a_server_that_is_killed(server: Server) -> None:
    """A call fails as soon as the server has died, and works once it is back: same link."""
    async with linked(server.settings) as link:
        key = Keys(server.settings.key_prefix).search_queue(0)
        assert await link.call("RPUSH", key, b"before") == 1
        waiting = asyncio.create_task(link.call("BLPOP", f"{key}:empty", 0))
        await asyncio.to_thread(server.kill)
        with pytest.raises(RedisUnavailableError):
            await asyncio.wait_for(waiting, PATIENCE_S)
        asking = asyncio.create_task(link.call("PING"))
        await asyncio.sleep(0)
        assert asking.done(), "without a connection nothing is waited for"
        with pytest.raises(RedisUnavailableError):
            await asking

        await asyncio.to_thread(server.start)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    length = await link.call("RPUSH", key, b"after")
                    break
                except (RedisUnavailableError, CommandError):  # CommandError: it loads its data
                    await asyncio.sleep(0.05)
        assert length == 2  # what was there before the kill is there again


async def test_the_control_plane_outlives_a_server_that_is_killed(server: Server) -> None:
    """Stored facts survive, commands work again, and a listener learns that it must read again."""
    keys = Keys(server.settings.key_prefix)
    async with connected(server.settings) as control:
        registry = Registry(control, keys)
        await registry.cluster(4)
        async with aclosing(control.events(keys.events)) as events:
            assert await anext(events) == RECONNECTED
            await asyncio.to_thread(server.kill)
            with pytest.raises(RedisUnavailableError):
                await registry.cluster(None)
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(PATIENCE_S):
                assert await anext(events) == RECONNECTED
            assert await registry.cluster(None) == 4
            await registry.announce("workers")
            async with asyncio.timeout(PATIENCE_S):
                assert await anext(events) == b"workers"
