"""A Redis Cluster whose nodes speak TLS alone, with Debian's redis-server, which can."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from bench.failover import Traffic, gateway_on, lost, workers_on
from bench.harness.redis_cluster import RedisCluster, running_redis_cluster
from bench.nodes import bring_back, fail_over
from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.log import ShardLog
from tests.support.tls_servers import tls_in
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

NUM_SHARDS = 3


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three nodes with a replica each, and a server for the control plane, for all tests."""
    tls = tls_in(tmp_path_factory.mktemp("tls"))
    with running_redis_cluster(num_replicas=1, tls=tls) as found:
        yield found


async def test_every_node_is_reached_over_tls(nodes: RedisCluster, key_prefix: str) -> None:
    """Those that are named, those that are learned, and the owner of a slot that moves."""
    settings = nodes.settings(key_prefix=key_prefix, cluster_nodes=[str(nodes.nodes[0].address)])
    control = await connect(settings, 5)
    try:
        log = ShardLog(control, Keys.of(settings))
        for shard in (0, 1):
            await log.append(shard, b"1")
        target = nodes.owner(1)
        nodes.begin_move(0, target)
        other = NUM_SHARDS  # in the same slot as shard 0
        await log.append(other, b"2")  # there is no such key yet, so it is made where the slot goes
        assert await log.lengths([0, 1, other]) == {0: 1, 1: 1, other: 1}
        nodes.move(0, target)
        assert await log.lengths([0, 1, other]) == {0: 1, 1: 1, other: 1}
    finally:
        await control.close()


async def test_searches_go_on_while_a_node_fails(nodes: RedisCluster) -> None:
    """Requests, replies, logs and cancellations go over TLS to each node, and to its successor."""
    with workers_on(nodes, NUM_SHARDS):
        async with gateway_on(nodes, 1, NUM_SHARDS) as gateway:
            traffic = Traffic(gateway, deadline_ms=3000.0, pause_s=0.1)
            async with traffic.running(searchers=1, writers=1):
                await until(lambda: len(traffic.acknowledged) > 10, what="writes are acknowledged")
                _, old = await fail_over(nodes, traffic, 1, signal.SIGKILL, observed_s=0.0)
                failed_at = asyncio.get_running_loop().time()
                await until(lambda: traffic.num_whole(failed_at) >= 50, what="whole answers")
                await bring_back(nodes, old, signal.SIGKILL)
            acknowledged = [name for _, name in traffic.acknowledged]

            async def are_found() -> bool:  # those that were only logged may have yet to be applied
                return not await lost(gateway, acknowledged)

            await until(are_found, what="all acknowledged documents are found")


async def test_an_unknown_authority_is_refused(nodes: RedisCluster, tmp_path: Path) -> None:
    """A client that trusts another authority connects to none of them."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with pytest.raises((ConfigurationError, RedisUnavailableError), match="certificate"):
        await connect(nodes.settings(tls_ca_file=str(other)), 5)
