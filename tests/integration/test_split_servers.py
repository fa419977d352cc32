"""The steps of a split on each kind of Redis: drivers end at any point, and nothing is lost."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager

import msgspec
import pytest

from hedgerow.common.collection import Collection, define
from hedgerow.common.errors import HedgerowError, NotFoundError, SealedError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.op_parts import NOTHING
from hedgerow.common.shard_log.operations import Create, Drop, unpack_op
from hedgerow.common.shard_log.sealing import Sealing
from hedgerow.common.splitting import policy
from hedgerow.common.splitting.policy import MOST_SEALED_MS, Seen, abandon, begin, next_step
from hedgerow.common.state.layout import ClusterLayout, Layout, LayoutStore, SplitState
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import end
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.splitting.driver import SplitDriver
from tests.support.redis_kinds import CONTROL, KINDS, NODES, redis_of
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

NUM_OLD, NUM_NEW = 4, 8
WORKER = "w"
NAMES = ("one", "two", "three")
HELD = (SplitState.SEALED, SplitState.SWITCHED)


@pytest.fixture(scope="module")
def kinds() -> Iterator[dict[str, RedisSettings]]:
    """The settings for each kind of Redis."""
    with ExitStack() as opened:
        yield {kind: opened.enter_context(redis_of(kind)).redis for kind in KINDS}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a split has fallen back, it tries again at once."""
    monkeypatch.setattr(policy, "PAUSE_MS", 0)


@asynccontextmanager
async def connected(settings: RedisSettings) -> AsyncIterator["Scene"]:
    """A cluster on these servers, for the block."""
    control = await connect(settings)
    try:
        yield Scene(control, Keys.of(settings))
    finally:
        await control.close()


class Scene:
    """A cluster whose one worker serves all shards, and copies what is in the old logs."""

    def __init__(self, control: RedisClient, keys: Keys) -> None:
        self.control = control
        self.keys = keys
        self.layouts = LayoutStore(control, keys)
        self.logs = [ShardLog(control, keys.of_layout(layout)) for layout in (0, 1)]
        self.registries = [Registry(control, keys.of_layout(layout)) for layout in (0, 1)]
        self.collections: dict[str, Collection | None] = {}  # None once they are dropped
        self.appended: dict[int, list[str]] = {}  # old shard → ids of acknowledged entries

    async def begin(self) -> None:
        """Make the cluster, and begin a split."""
        await self.registries[0].cluster(NUM_OLD)
        now_ms = await self.control.now_ms()
        for registry, num_shards in zip(self.registries, (NUM_OLD, NUM_NEW), strict=True):
            shards = list(range(num_shards))
            replicas = dict.fromkeys(shards, "replica")
            live_until_ms = now_ms + 600_000
            beat = Heartbeat(
                WORKER, 1, "h", shards, "1", live_until_ms, 0, joins=True, replicas=replicas
            )
            await registry.beat(beat)
        assert await self.layouts.write(begin(ClusterLayout(0, Layout(0, NUM_OLD)), now_ms), 0)

    async def layout(self) -> ClusterLayout:
        """The present layout."""
        found = await self.layouts.read()
        assert found is not None
        return found

    async def state(self) -> SplitState | None:
        """The state of the split; None at its end."""
        split = (await self.layout()).split
        return None if split is None else split.state

    def driver(self) -> SplitDriver:
        """A driver, as in a worker that has been started again."""
        return SplitDriver(self.control, self.keys, WORKER, 5.0)

    async def fall_back(self) -> None:
        """Have a split that holds writes back give that up, as if it had taken too long."""
        layout = await self.layout()
        if layout.split is None or layout.split.state not in HELD:
            return
        now_ms = await self.control.now_ms()
        back = next_step(layout, Seen(failure="too late"), now_ms + MOST_SEALED_MS).next
        assert back is not None
        assert back.split is not None
        split = msgspec.structs.replace(back.split, changed_at_ms=now_ms)
        await self.layouts.write(msgspec.structs.replace(back, split=split), layout.version)

    async def leave_layout(self) -> None:
        """End the worker of a layout that is being removed."""
        left = {SplitState.REMOVING: 0, SplitState.ABANDONING: 1}.get(await self.state())
        if left is not None:
            await self.control.execute("DEL", self.keys.of_layout(left).workers)

    async def copy(self) -> None:
        """Copy what the old logs have to the new ones, all the time, and have it applied there."""
        copies = Sealing(self.control, self.keys.of_layout(1))
        while True:
            layout = await self.layout()
            for shard in range(NUM_NEW) if layout.is_copying else ():
                newest = await self.logs[1].newest(shard)
                entries = await self.logs[0].read(shard % NUM_OLD, newest, 1_000_000)
                copied = [(entry.id, entry.op) for entry in entries]
                if copied and await copies.copy(shard, newest, copied):
                    await self.logs[1].record_applied(shard, "replica", copied[-1][0])
            await asyncio.sleep(0.002)

    async def write(self, shard: int) -> None:
        """Append to one old log, like a gateway that never learns of the split."""
        acknowledged = self.appended.setdefault(shard, [])
        while True:
            try:
                acknowledged.append((await self.logs[0].append(shard, NOTHING)).id)
            except HedgerowError:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.001)

    async def change(self, rng: random.Random, name: str) -> None:
        """Create and drop a collection by turns, in the layout that takes writes."""
        while True:
            layout = (await self.layout()).current
            registry = self.registries[layout.id]
            known = self.collections.get(name)
            try:
                if known is None:
                    wanted = define(name, {})
                    made = await registry.create_collection(wanted, layout.num_shards)
                    self.collections[name] = made
                else:
                    await registry.drop_collection(known, layout.num_shards)
                    self.collections[name] = None
            except NotFoundError:
                self.collections[name] = None  # by an earlier attempt
            except HedgerowError:
                await asyncio.sleep(0.002)
            await asyncio.sleep(rng.random() * 0.02)

    def is_busy(self) -> bool:
        """Whether all old logs have entries, and all collections were created."""
        num_appended = [len(self.appended.get(shard, ())) for shard in range(NUM_OLD)]
        return min(num_appended) > 3 and all(self.collections.get(one) for one in NAMES)

    async def drive(self, rng: random.Random) -> None:
        """Move the split on to its end, by drivers most of which end in the middle of a step."""
        seen = set()
        while (state := await self.state()) is not None:
            seen.add(state)
            await self.leave_layout()
            # A driver whose commands are cut off may have had some of them carried out.
            stepping = asyncio.create_task(self.driver().step(await self.layout()))
            await asyncio.wait([stepping], timeout=rng.choice([0.0, 0.002, 0.005, 0.02, 1.0]))
            await end([stepping])
            if state in HELD and rng.random() < 0.1:
                await self.fall_back()

    async def collections_in(self, layout: int, num_shards: int) -> list[set[str]]:
        """For each shard of a layout, the uids of the collections that its log has."""
        found = []
        for shard in range(num_shards):
            uids: set[str] = set()
            for entry in await self.logs[layout].read(shard, START, 10_000_000):
                match unpack_op(entry.op):
                    case Create(definition):
                        uids.add(Collection.from_json(definition.encode()).uid)
                    case Drop(uid):
                        uids.discard(uid)
            found.append(uids)
        return found


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
        for shard, acknowledged in scene.appended.items():
            for new in (shard, shard + NUM_OLD):
                copied = {entry.id for entry in await scene.logs[1].read(new, START, 10_000_000)}
                assert copied >= set(acknowledged)
        # A change that was cut off just now is completed.
        changes = Registry(scene.control, scene.keys.of_layout(1))
        monkeypatch.setattr("hedgerow.common.state.split_changes.PATIENCE", 0)
        await changes.collections()
        there = {one.uid for one in (await changes.collections()).values()}
        assert await scene.collections_in(1, NUM_NEW) == [there] * NUM_NEW
        # However late a gateway learns of the split, nothing is written to the old logs.
        for shard in range(NUM_OLD):
            with pytest.raises(SealedError):
                await scene.logs[0].append(shard, b"late")
            assert await scene.logs[0].applied(shard) == {}


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
