"""A split on a Redis Cluster whose slots move, and whose nodes fail or do not answer."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest

from bench.harness.redis_cluster import RedisCluster, running_redis_cluster
from bench.nodes import bring_back
from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.shard_log.op_parts import NOTHING
from hedgerow.common.splitting import policy
from hedgerow.common.state.layout import SplitState
from hedgerow.common.tasks import end
from tests.integration.support.split_scene import NUM_OLD, Scene, connected
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
def nodes() -> Iterator[RedisCluster]:
    """Three nodes with a replica each, for one test: one that is started again ends with it."""
    with running_redis_cluster(num_replicas=1) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a split has fallen back, it tries again at once."""
    monkeypatch.setattr(policy, "PAUSE_MS", 0)


@asynccontextmanager
async def splitting(nodes: RedisCluster, prefix: str) -> AsyncIterator[Scene]:
    """A split that has begun, while a gateway writes that never learns of it."""
    settings = nodes.settings(
        key_prefix=prefix, min_replicas=1, min_replicas_timeout_s=0.5, command_timeout_s=1.0
    )
    async with connected(settings) as scene:
        await scene.begin()
        some = [scene.copy(), *(scene.write(shard) for shard in range(NUM_OLD))]
        tasks = [asyncio.create_task(one) for one in some]
        try:
            await until(scene.is_written, what="writes have begun")
            yield scene
        finally:
            await end(tasks)


async def drive_to(scene: Scene, state: SplitState) -> None:
    """Have a driver move the split on until it gets to a state."""

    async def is_there() -> bool:
        with suppress(RedisUnavailableError):
            await scene.driver().step(await scene.layout())
        return await scene.state() is state

    await until(is_there, what=f"the split is {state}")


async def test_slots_that_move_meanwhile_lose_nothing(nodes: RedisCluster, key_prefix: str) -> None:
    """Slots of old and of new logs go from node to node in each state."""
    async with splitting(nodes, key_prefix) as scene:
        driving = asyncio.create_task(scene.drive(random.Random(1)))
        slot = 0
        while not driving.done():
            slot = (slot + 1) % 3
            away = next(one for one in nodes.primaries() if one is not nodes.owner(slot))
            await asyncio.to_thread(nodes.move, slot, away)
        await driving
        await scene.check_appended()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_node_that_fails_takes_no_seal_with_it(
    nodes: RedisCluster, key_prefix: str, how: signal.Signals
) -> None:
    """Its replica has sealed logs, and all copies: nothing that was acknowledged is missing."""
    async with splitting(nodes, key_prefix) as scene:
        await drive_to(scene, SplitState.SEALED)
        scene.may_copy.clear()  # it is held there: what was written last is not copied yet
        old = await asyncio.to_thread(nodes.owner, 1)
        old.signal(how)

        async def has_another() -> bool:
            return await asyncio.to_thread(nodes.owner, 1, old) is not old

        await until(has_another, what="another node has the slot")
        driving = asyncio.create_task(scene.drive(random.Random(2)))
        await bring_back(nodes, old, how)
        scene.may_copy.set()
        await driving
        await scene.check_appended()


async def test_writes_to_other_nodes_go_on_if_one_does_not_answer(
    key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change-over falls back, and says why; when the node is back, the split is done."""
    with running_redis_cluster() as nodes:
        settings = nodes.settings(key_prefix=key_prefix, command_timeout_s=0.5)
        async with connected(settings) as scene:
            await scene.begin()
            await drive_to(scene, SplitState.SEALED)
            hung = nodes.owner(1)
            hung.signal(signal.SIGSTOP)
            with monkeypatch.context() as patched:
                patched.setattr(policy, "MOST_SEALED_MS", 0)
                await drive_to(scene, SplitState.COPYING)
            split = (await scene.layout()).split
            assert split is not None
            assert "waited for Redis (" in split.reason

            async def is_open() -> bool:
                with suppress(RedisUnavailableError):
                    await scene.driver().step(await scene.layout())
                with suppress(RedisUnavailableError):
                    return bool(await scene.logs[0].append(0, NOTHING))
                return False

            await until(is_open, what="a log on another node takes writes")
            hung.signal(signal.SIGCONT)
            await until(partial(asyncio.to_thread, nodes.is_whole), what="the node is back")
            copying = asyncio.create_task(scene.copy())
            await scene.drive(random.Random(3))
            await end([copying])
