"""A Redis Cluster whose nodes speak TLS alone, with Debian's redis-server, which can."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from bench.harness.redis_cluster import RedisCluster, running_redis_cluster
from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.log import ShardLog
from tests.support.tls_servers import tls_in

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Two nodes, and a server for the control plane, for a module's tests one after another."""
    with running_redis_cluster(2, num_slots=2, tls=tls_in(tmp_path_factory.mktemp("tls"))) as found:
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
        await log.append(2, b"2")  # there is no such key yet, so it is made where the slot goes
        assert await log.lengths([0, 1, 2]) == {0: 1, 1: 1, 2: 1}
    finally:
        await control.close()


async def test_an_unknown_authority_is_refused(nodes: RedisCluster, tmp_path: Path) -> None:
    """A client that trusts another authority connects to none of them."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with pytest.raises((ConfigurationError, RedisUnavailableError), match="certificate"):
        await connect(nodes.settings(tls_ca_file=str(other)), 5)
