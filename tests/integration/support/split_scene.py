"""A split without worker processes: a heartbeat, copies, writes, and drivers that end."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec
import pytest

from hedgerow.common.collection import Collection, define
from hedgerow.common.errors import HedgerowError, NotFoundError, RedisUnavailableError, SealedError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.shard_log.entries import START
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.op_parts import NOTHING
from hedgerow.common.shard_log.operations import Create, Drop, unpack_op
from hedgerow.common.shard_log.sealing import Sealing
from hedgerow.common.splitting.policy import MOST_SEALED_MS, Seen, begin, next_step
from hedgerow.common.state.layout import ClusterLayout, Layout, LayoutStore, SplitState
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import end
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.splitting.driver import SplitDriver

NUM_OLD: Final = 4
NUM_NEW: Final = 2 * NUM_OLD
WORKER: Final = "w"
NAMES: Final = ("one", "two", "three")
HELD: Final = (SplitState.SEALED, SplitState.SWITCHED)


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
        self.may_copy = asyncio.Event()
        self.may_copy.set()

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
        for state, layout in ((SplitState.REMOVING, 0), (SplitState.ABANDONING, 1)):
            if await self.state() is state:
                await self.control.execute("DEL", self.keys.of_layout(layout).workers)

    async def copy(self) -> None:
        """Copy what the old logs have to the new ones, all the time, and have it applied there."""
        copies = Sealing(self.control, self.keys.of_layout(1))
        while True:
            await self.may_copy.wait()
            layout = await self.layout()
            for shard in range(NUM_NEW) if layout.is_copying else ():
                with suppress(RedisUnavailableError):
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

    def is_written(self) -> bool:
        """Whether all old logs have entries."""
        return min(len(self.appended.get(shard, ())) for shard in range(NUM_OLD)) > 3

    def is_busy(self) -> bool:
        """Whether they have, and all collections were created."""
        return self.is_written() and all(self.collections.get(one) for one in NAMES)

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

    async def check_appended(self) -> None:
        """All that was acknowledged is in the new logs, and the old ones take nothing more."""
        for shard in range(NUM_OLD):
            for new in (shard, shard + NUM_OLD):
                copied = {entry.id for entry in await self.logs[1].read(new, START, 10_000_000)}
                assert copied >= set(self.appended[shard])
            # However late a gateway learns of the split.
            with pytest.raises(SealedError):
                await self.logs[0].append(shard, b"late")
            assert await self.logs[0].applied(shard) == {}

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
