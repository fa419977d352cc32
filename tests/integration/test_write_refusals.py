"""A server that takes no appends, for want of memory, disk or the right: nothing is half done."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import WriteRefusedError
from hedgerow.common.machine.shortage import Shortage
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.operations import Drop, pack_op
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.storage import ShortageStore, read_told
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

NUM_SHARDS = 3


@dataclass
class Cluster:
    """A server of its own, and a connection to it."""

    control: RedisClient
    keys: Keys
    registry: Registry
    log: ShardLog

    async def refuse(self, cause: str) -> None:
        """Have the server take no appends from now on."""
        match cause:
            case "memory":
                await self.control.execute("CONFIG", "SET", "maxmemory", 1)
            case "disk":
                await self.control.execute("ACL", "SETUSER", "default", "-xadd")
            case _:
                await self.control.execute("REPLICAOF", "127.0.0.1", 1)


@pytest.fixture
async def cluster(own_server: RedisServer, key_prefix: str) -> AsyncIterator[Cluster]:
    """One with a number of shards and a collection `old`."""
    control = await connect(RedisSettings(url=own_server.url))
    keys = Keys(key_prefix)
    one = Cluster(control, keys, Registry(control, keys), ShardLog(control, keys))
    await one.registry.cluster(NUM_SHARDS)
    await one.registry.create_collection(define("old", {}), NUM_SHARDS)
    yield one
    await control.close()


CAUSES = pytest.mark.parametrize("cause", ["memory", "disk", "read_only"])


@CAUSES
async def test_an_append_says_why_it_is_refused(cluster: Cluster, cause: str) -> None:
    """Memory, disk and read-only are distinguished, and nothing is logged."""
    before = await cluster.log.last_ids(range(NUM_SHARDS))
    await cluster.refuse(cause)
    with pytest.raises(WriteRefusedError) as refused:
        await cluster.log.append(0, pack_op(Drop("u")))
    assert refused.value.cause == cause
    assert await cluster.log.last_ids(range(NUM_SHARDS)) == before


@CAUSES
async def test_a_collection_is_created_and_dropped_whole_or_not_at_all(
    cluster: Cluster, cause: str
) -> None:
    """A definition that the logs did not take is not there, and one that they keep still is."""
    old = await cluster.registry.collection("old")
    assert old is not None
    await cluster.refuse(cause)
    with pytest.raises(WriteRefusedError):
        await cluster.registry.create_collection(define("new", {}), NUM_SHARDS)
    with pytest.raises(WriteRefusedError):
        await cluster.registry.drop_collection(old, NUM_SHARDS)
    assert set(await cluster.registry.collections()) == {"old"}


@CAUSES
async def test_a_process_that_starts_reads_what_the_cluster_is(
    cluster: Cluster, cause: str
) -> None:
    """A worker that names the number of shards can join while the server takes no writes."""
    await cluster.refuse(cause)
    assert await cluster.registry.cluster(NUM_SHARDS) == NUM_SHARDS


async def test_a_log_that_cannot_be_continued_says_so(cluster: Cluster) -> None:
    """A refused continuation is an error: without it a later write would be passed over.

    A log that is ahead already needs no append, so that a worker can start without one.
    """
    await cluster.refuse("disk")
    newest = await cluster.log.newest(0)
    assert not await cluster.log.continue_after(0, newest)
    with pytest.raises(WriteRefusedError):
        await cluster.log.continue_after(0, "99999999999999-0")


async def test_what_the_keeper_says_is_read_until_it_is_taken_back(cluster: Cluster) -> None:
    """A reported shortage reads back as it was, and expires with the worker that reported it."""
    board = ShortageStore(cluster.control, cluster.keys)
    told = Shortage("disk", "full", "0 MB free", 5, 0)
    await board.tell([told])
    assert read_told(await cluster.control.execute("GET", cluster.keys.storage)) == [told]
    assert 0 < await cluster.control.execute("PTTL", cluster.keys.storage) <= 10_000
    await board.tell([])
    assert read_told(await cluster.control.execute("GET", cluster.keys.storage)) == []
    assert read_told(b"nonsense") == read_told(b"[5]") == read_told(b"5") == []
