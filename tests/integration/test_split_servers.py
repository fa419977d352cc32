"""The steps of a split on each kind of Redis: drivers end at any point, and nothing is lost."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import HedgerowError, SealedError
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.op_parts import NOTHING
from hedgerow.common.shard_log.sealing import Sealing
from hedgerow.common.splitting import policy
from hedgerow.common.splitting.policy import abandon
from hedgerow.common.state.layout import SplitState
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import end
from tests.integration.support.split_scene import NAMES, NUM_NEW, NUM_OLD, connected
from tests.support.redis_kinds import CONTROL, KINDS, NODES, redis_of
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def kinds() -> Iterator[dict[str, RedisSettings]]:
    """The settings for each kind of Redis."""
    with ExitStack() as opened:
        yield {kind: opened.enter_context(redis_of(kind)).redis for kind in KINDS}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a split has fallen back, it tries again at once."""
    monkeypatch.setattr(policy, "PAUSE_MS", 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
async def test_drivers_that_end_at_any_point_lose_nothing(
    kinds: dict[str, RedisSettings],
    key_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    seed: int,
) -> None:
    """Writes and changes of collections go on: all that was acknowledged is in the new logs."""
    rng = random.Random(seed)
    async with connected(kinds[kind].model_copy(update={"key_prefix": key_prefix})) as scene:
        await scene.begin()
        writing = [scene.write(shard) for shard in range(NUM_OLD)]
        changing = [scene.change(rng, name) for name in NAMES]
        tasks = [asyncio.create_task(one) for one in (scene.copy(), *writing, *changing)]
        await until(scene.is_busy, what="writes and changes have begun")
        await scene.drive(rng)
        await end(tasks)
        await scene.check_appended()
        # A change that was cut off just now is completed.
        changes = Registry(scene.control, scene.keys.of_layout(1))
        monkeypatch.setattr("hedgerow.common.state.split_changes.PATIENCE", 0)
        await changes.collections()
        there = {one.uid for one in (await changes.collections()).values()}
        assert await scene.collections_in(1, NUM_NEW) == [there] * NUM_NEW


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancelled_split_leaves_the_old_logs_as_they_were(
    kinds: dict[str, RedisSettings], key_prefix: str, kind: str
) -> None:
    """They take writes and changes of collections; the new ones are gone, on every server."""
    async with connected(kinds[kind].model_copy(update={"key_prefix": key_prefix})) as scene:
        await scene.begin()
        copying = asyncio.create_task(scene.copy())
        await scene.registries[0].create_collection(define("one", {}), NUM_OLD)

        async def is_copied() -> bool:
            newest = [await scene.logs[1].newest(shard) for shard in range(NUM_NEW)]
            return min(map(position, newest)) > (0, 0)

        await until(is_copied, what="the copies of all logs")
        await end([copying])
        layout = await scene.layout()
        abandoned = abandon(layout, "it was cancelled", await scene.control.now_ms())
        assert abandoned is not None
        assert await scene.layouts.write(abandoned, layout.version)
        await scene.drive(random.Random(0))
        for shard in range(NUM_NEW):
            assert await scene.logs[1].newest(shard) == START
            assert await scene.logs[1].applied(shard) == {}
        for shard in range(NUM_OLD):
            await scene.logs[0].append(shard, NOTHING)
        made = await scene.registries[0].create_collection(define("two", {}), NUM_OLD)
        assert all(made.uid in uids for uids in await scene.collections_in(0, NUM_OLD))


@pytest.mark.parametrize("kind", [CONTROL, NODES])
async def test_a_change_that_has_begun_is_complete_before_any_log_is_sealed(
    kinds: dict[str, RedisSettings],
    key_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """Its process has died after the first step; meanwhile, no other change may begin."""
    async with connected(kinds[kind].model_copy(update={"key_prefix": key_prefix})) as scene:
        await scene.begin()
        registry = scene.registries[0]
        with monkeypatch.context() as patched:

            async def die(*_arguments: object) -> None:
                raise HedgerowError("it dies")

            patched.setattr("hedgerow.common.state.split_changes.SplitChanges._complete", die)
            with pytest.raises(HedgerowError, match="it dies"):
                await registry.create_collection(define("one", {}), NUM_OLD)
        assert await registry.collections() == {}
        copying = asyncio.create_task(scene.copy())

        async def is_sealed() -> bool:
            await scene.driver().step(await scene.layout())
            return await scene.state() is SplitState.SEALED

        await until(is_sealed, what="the split is sealed")
        with pytest.raises(SealedError):
            await registry.create_collection(define("two", {}), NUM_OLD)
        (one,) = (await registry.collections()).values()
        await scene.drive(random.Random(0))
        await end([copying])
        assert await scene.collections_in(1, NUM_NEW) == [{one.uid}] * NUM_NEW
        with pytest.raises(SealedError):  # by a gateway that has not changed over
            await registry.drop_collection(one, NUM_OLD)
        await scene.registries[1].drop_collection(one, NUM_NEW)
        assert await scene.collections_in(1, NUM_NEW) == [set()] * NUM_NEW


@pytest.mark.parametrize("kind", KINDS)
async def test_a_driver_that_comes_late_opens_no_log(
    kinds: dict[str, RedisSettings], key_prefix: str, kind: str
) -> None:
    """What a later version of the layout has sealed stays so; a version after it opens it."""
    async with connected(kinds[kind].model_copy(update={"key_prefix": key_prefix})) as scene:
        sealing, shards = Sealing(scene.control, scene.keys), range(NUM_OLD)
        await sealing.seal([0], 2)
        await sealing.seal(shards, 4)  # one is sealed from before
        await sealing.unseal(shards, 3)
        for shard in shards:
            with pytest.raises(SealedError):
                await scene.logs[0].append(shard, b"late")
        assert await scene.logs[0].missed(shards) == {shard: set() for shard in shards}
        await sealing.unseal(shards, 5)
        for shard in shards:
            await scene.logs[0].append(shard, b"in time")
