"""A failover of the server whose logs are copied, to one that lacks their ends."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bench.harness.redis_cluster import RedisCluster, running_redis_cluster
from bench.harness.sentinels import Node
from hedgerow.common.errors import RedisUnavailableError, SplitError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.log import FIELD, ShardLog
from hedgerow.common.shard_log.op_parts import NOTHING
from hedgerow.common.state.layout import Layout, Split, SplitState
from hedgerow.common.tasks import end
from hedgerow.shard_worker.splitting.clone_choice import CloneChoice
from hedgerow.shard_worker.splitting.copier import Copier
from hedgerow.shard_worker.splitting.copy_pace import CopyPace
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

AHEAD_MS = 3_600_000  # of the clock of the server that fails
# The first of the new shards is in the slot of the old one, and the second in another.
SPLIT = Split(Layout(0, 4), Layout(1, 8), SplitState.COPYING, 0, 0)
SHARD, NEW = 1, (1, 5)


@pytest.fixture
def nodes() -> Iterator[RedisCluster]:
    """Three nodes with a replica each."""
    with running_redis_cluster(num_replicas=1) as cluster:
        yield cluster


@pytest.fixture
async def control(nodes: RedisCluster, key_prefix: str) -> AsyncIterator[RedisClient]:
    """A connection to them."""
    control = await connect(nodes.settings(key_prefix=key_prefix, command_timeout_s=1.0))
    yield control
    await control.close()


async def always() -> None:
    """Hold the lease."""


def copier_of(control: RedisClient, keys: Keys, path: Path) -> Copier:
    """A copier of a shard without documents, all of whose log is there."""
    return Copier(
        control,
        keys,
        SPLIT,
        SHARD,
        path,
        applied=lambda: START,
        pace=CopyPace(1.0),
        clones=CloneChoice(control, keys, SPLIT, 5.0),
        replicas_within_s=0.0,
    )


async def copy(copier: Copier) -> None:
    """Copy as a worker does: again after each failure of a server."""
    while True:
        try:
            await copier.run(always)
        except RedisUnavailableError:
            await asyncio.sleep(0.01)


async def copy_what_one_server_has(
    nodes: RedisCluster, control: RedisClient, keys: Keys
) -> tuple[Node, Node, str]:
    """Have an entry be copied that the server's replica lacks, and that has an id ahead of time.

    Returns:
        The server, its replica, which is stopped, and the entry's id.
    """
    log, new = ShardLog(control, keys), ShardLog(control, keys.of_layout(1))
    await log.append(SHARD, NOTHING)
    old = nodes.owner(SHARD % 3)
    replica = next(one for one in nodes.nodes if old.port in one.ask("ROLE")[1:3])
    await until(nodes.is_whole, what="the replica follows")
    replica.signal(signal.SIGSTOP)
    old.ask("CLIENT", "KILL", "TYPE", "replica")  # else it would read the rest when it goes on
    lost = f"{await control.now_ms() + AHEAD_MS}-0"
    await control.data(SHARD).execute("XADD", keys.log(SHARD), lost, FIELD, NOTHING)

    async def is_copied() -> bool:
        return [await new.newest(shard) for shard in NEW] == [lost, lost]

    await until(is_copied, what="it is copied")
    return old, replica, lost


async def fail_over(nodes: RedisCluster, old: Node, replica: Node) -> None:
    """End a server, and have its replica take over."""
    old.kill()
    replica.signal(signal.SIGCONT)
    await until(lambda: nodes.owner(SHARD % 3, old) is replica, what="the replica has the slot")


async def write(log: ShardLog) -> str:
    """Append an entry as soon as that is possible; returns its id."""
    while True:
        try:
            return (await log.append(SHARD, NOTHING)).id
        except RedisUnavailableError:
            await asyncio.sleep(0.01)


async def test_what_is_written_after_a_failover_is_copied_though_the_clock_is_behind(
    nodes: RedisCluster, control: RedisClient, key_prefix: str, tmp_path: Path
) -> None:
    """The log gets back what was copied, and goes on after it."""
    keys = Keys(key_prefix, num_slots=3)
    log, new = ShardLog(control, keys), ShardLog(control, keys.of_layout(1))
    copying = asyncio.create_task(copy(copier_of(control, keys, tmp_path / "none")))
    old, replica, lost = await copy_what_one_server_has(nodes, control, keys)
    await fail_over(nodes, old, replica)
    written = await write(log)

    async def is_copied() -> bool:
        entries = [await new.read(shard, START, 1_000_000) for shard in NEW]
        return all({lost, written} <= {entry.id for entry in some} for some in entries)

    await until(is_copied, what="what was written is copied")
    assert position(written) > position(lost)
    await end([copying])


async def test_a_split_is_given_up_if_an_entry_came_before_what_was_copied(
    nodes: RedisCluster, control: RedisClient, key_prefix: str, tmp_path: Path
) -> None:
    """As when the copier learns of a failover too late: what it has not copied is not lost."""
    keys = Keys(key_prefix, num_slots=3)
    copier = copier_of(control, keys, tmp_path / "none")
    copying = asyncio.create_task(copy(copier))
    old, replica, lost = await copy_what_one_server_has(nodes, control, keys)
    await end([copying])
    await fail_over(nodes, old, replica)
    written = await write(ShardLog(control, keys))
    assert position(written) < position(lost)
    with pytest.raises(SplitError, match=written):
        await copy(copier)
