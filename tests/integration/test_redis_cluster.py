"""The data plane on a Valkey Cluster: where keys are; searches while slots move and nodes end."""

import asyncio
import signal
from collections.abc import Iterator
from functools import partial

import pytest

from bench.failover import COLLECTION, Traffic, document_counts, gateway_on, lost, workers_on
from bench.harness.redis_cluster import RedisCluster, running_redis_cluster
from bench.harness.sentinels import Node
from bench.nodes import bring_back, fail_over, move
from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.topology import SlotPrimary
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.search.result import SearchQuery
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

NUM_SHARDS = 3
LATE_S = 2.0  # on a machine that is busy; bench.nodes measures it
OF_DATA = {b"search", b"fetch", b"log", b"applied", b"trimmed", b"registered"}


@pytest.fixture(scope="module")
def nodes() -> Iterator[RedisCluster]:
    """Three nodes with a replica each, for a module's tests one after another."""
    with running_redis_cluster(num_replicas=1) as cluster:
        yield cluster


def part(key: bytes) -> bytes:
    """What kind of key it is, after the prefix and the tag."""
    parts = key.split(b":")
    return parts[2 if parts[1].startswith(b"{") else 1].partition(b"@")[0]


async def test_logs_survive_a_slot_that_moves(nodes: RedisCluster, key_prefix: str) -> None:
    """At each step of a move, appends and reads go to where the log is (MOVED, ASK)."""
    settings = nodes.settings(key_prefix=key_prefix)
    control = await connect(settings)
    try:
        log = ShardLog(control, Keys.of(settings))
        source, target = nodes.owner(0), nodes.owner(1)
        for op in (b"1", b"2"):
            await log.append(0, op)
        nodes.begin_move(0, target)
        await log.append(0, b"3")  # the key is still where it was
        assert await log.length(NUM_SHARDS) == 0  # and this one is in the same slot, but nowhere
        await log.append(NUM_SHARDS, b"4")  # so it is made where the slot goes (ASK)
        nodes.move(0, target)
        assert nodes.owner(0) is target
        await log.append(0, b"5")
        entries = await log.read(0, "0-0", 10_000)
        assert [entry.op for entry in entries] == [b"1", b"2", b"3", b"5"]
        assert [entry.op for entry in await log.read(NUM_SHARDS, "0-0", 10_000)] == [b"4"]
        nodes.move(0, source)
        assert await log.lengths([0, 1, NUM_SHARDS]) == {0: 4, 1: 0, NUM_SHARDS: 1}
    finally:
        await control.close()


async def test_a_command_outlives_the_news_that_its_slot_was_given_away(
    nodes: RedisCluster, key_prefix: str
) -> None:
    """The old node still answers, so only a failover ends what waits for it.

    A write that may not be sent twice would fail otherwise whenever the news comes before its
    answer.
    """
    settings = nodes.settings(key_prefix=key_prefix)
    control = await connect(settings)
    try:
        client, key = control.data(0), Keys.of(settings).log(0)
        primary = client.primary
        assert isinstance(primary, SlotPrimary)
        for is_failover in (False, True):
            await client.execute("DEL", key)
            waiting = asyncio.create_task(
                client.execute("BLPOP", key, 20, retry=False, block_s=20.0)
            )
            await until(partial(_waits_in, nodes.owner(0)), what="the server blocks on it")
            primary.moved(is_failover=is_failover)
            if is_failover:
                with pytest.raises(RedisUnavailableError, match="has moved"):
                    await waiting
            else:
                await client.execute("RPUSH", key, b"value")  # on another connection
                assert (await waiting)[1] == b"value"
    finally:
        await control.close()


def _waits_in(node: Node) -> bool:
    return bool(node.ask("INFO", "clients")["blocked_clients"] == 1)


async def test_what_was_made_for_other_slots_is_refused(
    nodes: RedisCluster, key_prefix: str
) -> None:
    """A process that spells keys in another way is refused before it reads or writes any."""

    async def refusal(settings: RedisSettings, num_shards: int | None = None) -> str:
        control = await connect(settings)
        try:
            with pytest.raises(ConfigurationError) as refused:
                await Registry(control, Keys.of(settings)).cluster(num_shards)
            return str(refused.value)
        finally:
            await control.close()

    ours = nodes.settings(key_prefix=key_prefix)
    plain = RedisSettings(url=nodes.control_url, key_prefix=key_prefix)
    control = await connect(ours)
    assert await Registry(control, Keys.of(ours)).cluster(NUM_SHARDS) == NUM_SHARDS
    await control.close()
    assert "redis.cluster_nodes: none are named" in await refusal(plain)
    more = ours.model_copy(update={"cluster_slots": 5})
    assert "redis.cluster_slots: 5 was named" in await refusal(more, NUM_SHARDS)
    old = f"{key_prefix}-old"
    control = await connect(plain)
    await Registry(control, Keys(old)).cluster(NUM_SHARDS)
    await control.close()
    named = await refusal(ours.model_copy(update={"key_prefix": old}), NUM_SHARDS)
    assert "made without a Redis Cluster" in named


async def test_a_server_of_the_wrong_kind_is_named(nodes: RedisCluster) -> None:
    """A node where a plain server is needed, and the other way round, are both errors at once."""
    with pytest.raises(ConfigurationError, match=r"redis.url: .*redis.cluster_nodes"):
        await connect(RedisSettings(url=f"redis://{nodes.nodes[0].address}/0"))
    with pytest.raises(ConfigurationError, match=r"redis.control_url: .*node of a Redis Cluster"):
        await connect(nodes.settings(control_url=f"redis://{nodes.nodes[0].address}/0"))
    with pytest.raises(ConfigurationError, match=r"redis.cluster_nodes: .*not part of"):
        await connect(nodes.settings(cluster_nodes=[str(nodes.control.address)]))
    with pytest.raises(RedisUnavailableError, match=r"none of the nodes 127.0.0.1:1 answers"):
        await connect(nodes.settings(cluster_nodes=["127.0.0.1:1"]))


async def test_searches_go_on_while_slots_move_and_nodes_fail(nodes: RedisCluster) -> None:
    """Each is answered or refused in time, no acknowledged write is lost, and all is whole again.

    A node that is lost takes only the shards of its slot with it; slots that move take none.
    """
    with workers_on(nodes, NUM_SHARDS):
        async with gateway_on(nodes, 1, NUM_SHARDS) as gateway:
            traffic = Traffic(gateway, deadline_ms=3000.0, pause_s=0.1)
            async with traffic.running(searchers=2, writers=2):
                await until(lambda: len(traffic.acknowledged) > 10, what="writes are acknowledged")
                for node in nodes.primaries():
                    own = {part(key) for key in node.ask("KEYS", "hedgerow:*")}
                    assert {b"log", b"applied"} <= own <= OF_DATA
                on_control = {part(key) for key in nodes.control.ask("KEYS", "hedgerow:*")}
                assert not on_control & OF_DATA
                home, target = nodes.owner(0), nodes.owner(1)
                slow = await move(nodes, traffic, 0, target, takes_s=4.0)
                # Those that are in flight when it begins may be late; all that follow are whole.
                assert slow.num_partial <= 2, (slow, traffic.reasons)
                nodes.move(0, home)
                for to in (nodes.owner(1), home):
                    moved = await move(nodes, traffic, 0, to)
                    assert moved.num_partial == 0, (moved, traffic.reasons)
                for how in (signal.SIGSTOP, signal.SIGKILL):
                    _, old = await fail_over(nodes, traffic, 1, how, observed_s=0.0)
                    await until(
                        partial(_are_whole, traffic, asyncio.get_running_loop().time()),
                        what="all answers are whole",
                    )
                    await bring_back(nodes, old, how)
            assert traffic.late_s() < LATE_S
            acknowledged = [name for _, name in traffic.acknowledged]

            async def are_found() -> bool:  # those that were only logged may have yet to be applied
                return not await lost(gateway, acknowledged)

            await until(are_found, what="all acknowledged documents are found")

            async def are_alike() -> bool:
                first, second = await document_counts(gateway)
                return first == second

            await until(are_alike, what="both replicas have the same documents")
            result = await gateway.search(SearchQuery(COLLECTION, "note", deadline_ms=3000.0))
            assert result.coverage.is_full
            shards = (await gateway.status())["shards"]
            assert {shard["breaker"] for shard in shards} == {"closed"}


def _are_whole(traffic: Traffic, since: float) -> bool:
    return traffic.num_whole(since) >= 50
