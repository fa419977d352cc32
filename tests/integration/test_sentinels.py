"""Connections to a primary that sentinels watch, and the writes that its replicas confirm."""

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import structlog

from bench.harness.sentinels import Node, Sentinels
from hedgerow.common.errors import (
    ConfigurationError,
    LoadInterruptedError,
    RedisUnavailableError,
    UnconfirmedError,
)
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import CommandError
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.documents import Documents
from hedgerow.shard_worker.control.queues import JobQueues
from tests.support import sentinels as fixtures
from tests.support.clusters import ROOT, ndjson
from tests.support.waiting import until

pytestmark = pytest.mark.integration

replicated, sentinels = fixtures.replicated, fixtures.sentinels


@asynccontextmanager
async def connected(settings: RedisSettings) -> AsyncIterator[tuple[RedisClient, RedisConnection]]:
    """A client and a connection of the data plane to the primary, for the block."""
    control = await connect(settings, 5)
    link = RedisConnection(control.primary, name="test", silence_s=5)
    try:
        await link.start(5)
        yield control, link
    finally:
        await link.close()
        await control.close()


@contextlib.contextmanager
def stopped(*nodes: Node) -> Iterator[None]:
    """Have servers hang for the block."""
    for node in nodes:
        node.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for node in nodes:
            node.signal(signal.SIGCONT)


async def test_a_demoted_primary_is_left_at_once(sentinels: Sentinels, key_prefix: str) -> None:
    """The first connection that finds its primary demoted makes all leave it; none comes back."""
    primary = sentinels.primary()
    other = next(node for node in sentinels.servers if node is not primary)
    async with (
        connected(sentinels.settings()) as (control, link),
        JobQueues.connect(Keys(key_prefix), control.settings, control.primary) as queues,
    ):
        await queues.enqueue(key_prefix, "job", job_id="1")
        idle = RedisConnection(control.primary, name="idle", silence_s=5)
        await idle.start(5)
        try:
            await asyncio.to_thread(primary.ask, "REPLICAOF", "127.0.0.1", other.port)
            with pytest.raises(CommandError, match="READONLY"):
                await link.call("SET", f"{key_prefix}:lost", "x")
            # The sentinels still name it, but its role is asked for.
            await until(lambda: not idle.is_connected)
            with pytest.raises(RedisUnavailableError):
                await control.execute("SET", f"{key_prefix}:lost", "x")
            with pytest.raises(RedisUnavailableError):
                await queues.enqueue(key_prefix, "job", job_id="2")
            await asyncio.sleep(0.3)
            assert [idle.is_connected, link.is_connected] == [False, False]
            await asyncio.to_thread(primary.ask, "REPLICAOF", "NO", "ONE")
            await until(lambda: idle.is_connected and link.is_connected)
            assert await link.call("GET", f"{key_prefix}:lost") is None
            await queues.enqueue(key_prefix, "job", job_id="3")
        finally:
            await asyncio.to_thread(primary.ask, "REPLICAOF", "NO", "ONE")
            await idle.close()


async def test_a_primary_that_is_demoted_is_noticed_without_a_write(sentinels: Sentinels) -> None:
    """A connection to which nothing is written leaves within about a second."""
    primary = sentinels.primary()
    other = next(node for node in sentinels.servers if node is not primary)
    async with connected(sentinels.settings()) as (_, link):
        await asyncio.to_thread(primary.ask, "REPLICAOF", "127.0.0.1", other.port)
        try:
            await until(lambda: not link.is_connected)
        finally:
            await asyncio.to_thread(primary.ask, "REPLICAOF", "NO", "ONE")


async def test_without_sentinels_the_primary_is_used_on(
    sentinels: Sentinels, key_prefix: str
) -> None:
    """While no sentinel answers, connections stay, and new ones go to the last known primary."""
    primary = sentinels.primary()
    async with connected(sentinels.settings()) as (control, link):
        with stopped(*sentinels.sentinels):
            assert await control.execute("INCR", key_prefix) == 1
            await asyncio.to_thread(primary.ask, "CLIENT", "KILL", "TYPE", "normal")
            await until(lambda: link.num_reconnects == 1 and link.is_connected)
            assert await link.call("INCR", key_prefix) == 2
            assert await control.execute("INCR", key_prefix) == 3
            with pytest.raises(RedisUnavailableError, match=r"none of the sentinels .* answers"):
                await connect(sentinels.settings(connect_timeout_s=0.3))


async def test_an_unknown_service_is_named(sentinels: Sentinels) -> None:
    """A process that is started with a misspelt name says so and ends."""
    with pytest.raises(ConfigurationError, match=r"redis\.service_name: .* monitor no 'hedgrow'"):
        await connect(sentinels.settings(service_name="hedgrow"), 5)


async def test_a_wrong_password_of_sentinels_is_named(sentinels: Sentinels) -> None:
    """A process that the sentinels refuse says which setting is wrong."""
    with pytest.raises(ConfigurationError, match=r"redis\.sentinel_password: a sentinel refuses"):
        await connect(sentinels.settings(sentinel_username="someone", sentinel_password="wrong"), 5)


async def test_the_documented_rights_are_enough(sentinels: Sentinels) -> None:
    """A user of the servers and one of the sentinels with just the rights of docs/redis.md."""
    text = (ROOT / "docs" / "redis.md").read_text(encoding="utf-8")
    of_servers = re.search(r"^user hedgerow on >PASSWORD (.*)$", text, re.MULTILINE)
    with_sentinels = re.search(r"With \[Sentinel\]\(#sentinel\), add `(.*?)`", text)
    of_sentinels = re.search(r"ACL user of the sentinels needs\s+`(.*?)`", text)
    assert of_servers
    assert with_sentinels
    assert of_sentinels
    rights = [*of_servers[1].split(), *with_sentinels[1].split()]
    for node in sentinels.servers:
        node.ask("ACL", "SETUSER", "hedgerow", "on", ">secret", *rights)
    for node in sentinels.sentinels:
        node.ask("ACL", "SETUSER", "watcher", "on", ">hush", *of_sentinels[1].split())
    settings = sentinels.settings(
        username="hedgerow",
        password="secret",
        sentinel_username="watcher",
        sentinel_password="hush",
        min_replicas=1,
        key_prefix="hedgerow",
    )
    with structlog.testing.capture_logs() as logs:
        async with connected(settings) as (control, link):
            await ShardLog(control, Keys("hedgerow")).append(0, b"op")
            assert await link.call("LLEN", "hedgerow:search:0") == 0
            # One may be of a connection that is being made; the next is that of each second.
            primary = sentinels.primary()
            enough = _num_roles(primary) + 2
            await until(lambda: _num_roles(primary) >= enough)
            assert link.is_connected
    assert not [line for line in logs if line["log_level"] != "debug"]


async def test_a_write_is_acknowledged_when_replicas_have_it(
    sentinels: Sentinels, key_prefix: str
) -> None:
    """Without their confirmation it is reported as not acknowledged, though it may be there."""
    settings = Settings(
        redis=sentinels.settings(min_replicas=1, min_replicas_timeout_s=2.0, key_prefix=key_prefix)
    )
    primary = sentinels.primary()
    replicas = [node for node in sentinels.servers if node is not primary]
    async with connected(settings.redis) as (control, _):
        keys = Keys(key_prefix)
        registry, log = Registry(control, keys), ShardLog(control, keys)
        collections = Collections(registry, 1, BUILT_IN_PROFILES)
        documents = Documents(log, collections, 1, settings.limits, write_timeout_s=5)
        await collections.put("notes", {"fields": {"title": "text"}})
        await documents.load("notes", ndjson([{"id": "a"}]), "logged")
        length = await log.length(0)
        with stopped(replicas[0]):  # the other one is enough
            await documents.load("notes", ndjson([{"id": "b"}]), "logged")
        with stopped(*replicas):
            with pytest.raises(LoadInterruptedError, match=r"0 of 1 replicas.*may have been done"):
                await documents.load("notes", ndjson([{"id": "c"}]), "logged")
            with pytest.raises(LoadInterruptedError, match="0 of 1 replicas"):
                await documents.delete("notes", "a", "logged")
            with pytest.raises(UnconfirmedError):
                await collections.put("more", {"fields": {"title": "text"}})
        assert await log.length(0) == length + 4  # none was sent twice
        await documents.load("notes", ndjson([{"id": "d"}]), "logged")


def _num_roles(node: Node) -> int:
    """How often a server has been asked for its role."""
    calls: int = node.ask("INFO", "commandstats").get("cmdstat_role", {}).get("calls", 0)
    return calls
