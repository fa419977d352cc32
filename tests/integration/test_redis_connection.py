"""The data plane's link, against a real server that is slow, killed, stopped and started again."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.commands import CommandError, pack
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.handshake import Handshake
from hedgerow.common.settings.redis import RedisSettings
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@asynccontextmanager
async def linked(
    server: RedisServer, silence_s: float = 5.0, **hooks: Any
) -> AsyncIterator[RedisConnection]:
    """A connected link for the block."""
    link = RedisConnection(endpoint(server.url), name="test", silence_s=silence_s, **hooks)
    await link.start(5)
    try:
        yield link
    finally:
        await link.close()


def endpoint(url: str, **changes: Any) -> Endpoint:
    """The endpoint of some settings."""
    return Endpoint.of(RedisSettings(url=url, reconnect_max_s=0.2, **changes))


async def test_replies_go_to_their_commands(redis_server: RedisServer, key_prefix: str) -> None:
    """Commands that are sent together each get their own reply, in one connection."""
    async with linked(redis_server) as link:
        replies = await asyncio.gather(
            *(link.call("ECHO", f"{key_prefix}-{number}") for number in range(500))
        )
    assert replies == [f"{key_prefix}-{number}".encode() for number in range(500)]


async def test_cancelling_leaves_no_reply_behind(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """A cancelled call's reply is not taken for the next call's."""
    async with linked(redis_server) as link:
        abandoned = asyncio.ensure_future(link.call("BLPOP", f"{key_prefix}:none", 0.05))
        await asyncio.sleep(0)
        abandoned.cancel()
        assert await link.call("ECHO", "mine") == b"mine"


async def test_an_error_is_the_commands_own(redis_server: RedisServer, key_prefix: str) -> None:
    """A refused command raises, and the next one works."""
    async with linked(redis_server) as link:
        with pytest.raises(CommandError, match="not an integer"):
            await link.call("INCRBY", key_prefix, "many")
        assert await link.call("PING") == b"PONG"


async def test_a_killed_server_fails_calls_at_once_and_is_found_again(
    own_server: RedisServer,
) -> None:
    """What waits when the server dies fails; the connection to its successor is made by itself."""
    lost: list[bool] = []
    async with linked(own_server, on_disconnect=lambda: lost.append(True)) as link:
        waiting = asyncio.ensure_future(link.call("BLPOP", "none", 0))
        await asyncio.sleep(0)
        own_server.stop(kill=True)
        with pytest.raises(RedisUnavailableError):
            await waiting
        with pytest.raises(RedisUnavailableError):
            await link.call("PING")
        assert lost == [True]
        assert link.num_reconnects == 0
        own_server.start()
        await until(lambda: link.is_connected)
        assert await link.call("PING") == b"PONG"
        assert link.num_reconnects == 1


async def test_a_hanging_server_is_given_up(own_server: RedisServer) -> None:
    """A server that takes commands and answers nothing fails them when the silence is too long."""
    async with linked(own_server, silence_s=1.5) as link:
        os.kill(own_server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(RedisUnavailableError):
                await asyncio.wait_for(link.call("PING"), 60)
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
        await until(lambda: link.is_connected)
        assert await link.call("PING") == b"PONG"


async def test_nothing_is_sent_twice(own_server: RedisServer) -> None:
    """A push whose reply was lost with the connection is not sent again."""
    async with linked(own_server, silence_s=1.5) as link:
        await link.call("DEL", "queue")
        os.kill(own_server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(RedisUnavailableError):
                await link.call("RPUSH", "queue", "once")
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
        await until(lambda: link.is_connected)
        assert await link.call("LLEN", "queue") in (0, 1)


async def test_messages_arrive_on_a_subscribed_link(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """What is published reaches `on_message` in order, after the subscription is confirmed."""
    heard: list[Any] = []

    async def subscribe(link: Handshake) -> None:
        link.subscribe(key_prefix)

    async with (
        linked(redis_server, on_connect=subscribe, on_message=heard.append),
        linked(redis_server) as publisher,
    ):
        await until(lambda: any(message[0] == b"subscribe" for message in heard))
        for number in range(50):
            publisher.send(pack("PUBLISH", key_prefix, str(number)))
        await until(lambda: sum(message[0] == b"message" for message in heard) == 50)
    assert [int(message[2]) for message in heard if message[0] == b"message"] == list(range(50))


async def test_it_authenticates_and_selects(own_server: RedisServer) -> None:
    """Password, ACL user and database come from the URL and the settings."""
    async with linked(own_server) as link:
        await link.call("ACL", "SETUSER", "hedge", "on", ">row", "~*", "&*", "+@all")
        await link.call("CONFIG", "SET", "requirepass", "secret")
    by_user = RedisConnection(
        endpoint(f"{own_server.url}?db=3", username="hedge", password="row"),
        name="test",
        silence_s=5,
    )
    await by_user.start(5)
    try:
        assert await by_user.call("ACL", "WHOAMI") == b"hedge"
        assert b"db=3" in await by_user.call("CLIENT", "INFO")
    finally:
        await by_user.close()
    refused = RedisConnection(endpoint(own_server.url, password="wrong"), name="test", silence_s=5)
    try:
        with pytest.raises(RedisUnavailableError):
            await refused.start(0.3)
    finally:
        await refused.close()


async def test_nothing_goes_out_before_the_connection_is_set_up(own_server: RedisServer) -> None:
    """What is sent during AUTH and SELECT is refused, and reaches no database."""
    async with linked(own_server) as other:
        await other.call("ACL", "SETUSER", "hedge", "on", ">row", "~*", "&*", "+@all")
        where = endpoint(f"{own_server.url}?db=3", username="hedge", password="row")
        refusals: list[Any] = []
        selected: list[Any] = []

        async def look(handshake: Handshake) -> None:
            selected.append(await handshake.call("CLIENT", "INFO"))

        link = RedisConnection(where, name="test", silence_s=5, on_connect=look)
        starting = asyncio.create_task(link.start(5))
        num_tried = 0
        while not link.is_connected:
            link.send(pack("SET", "early", "1"), refusals.append)
            link.send_now([pack("SET", "early", "1")], [refusals.append])
            num_tried += 2
            await asyncio.sleep(0)
        await starting
        try:
            assert await link.call("EXISTS", "early") == 0
            assert await other.call("EXISTS", "early") == 0  # in database 0
        finally:
            await link.close()
    assert b"db=3" in selected[0]
    assert len(refusals) == num_tried > 4
    assert all(isinstance(refusal, RedisUnavailableError) for refusal in refusals)
