"""Shards are cloned beside the old one, on a real server: whatever ends a copier or a clone."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.errors import HedgerowError, WorkError
from hedgerow.common.partition import shard_of
from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.shard_log.entries import START, position
from hedgerow.common.shard_log.judgement import KEPT_JUDGEMENTS, Judgement
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.op_parts import NOTHING
from hedgerow.common.shard_log.operations import Create, pack_op
from hedgerow.common.shard_log.sealing import Sealing
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import end
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskResult
from hedgerow.shard_worker.indexing.background_thread import Priority
from hedgerow.shard_worker.indexing.commands import Command, unpack_command
from hedgerow.shard_worker.indexing.indexer import IndexerConfig, make_indexer
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.shard_report import ShardState
from hedgerow.shard_worker.splitting import clone_priority, cloner
from hedgerow.shard_worker.splitting.clone_choice import CloneChoice
from hedgerow.shard_worker.splitting.cloner import ShardCloner
from hedgerow.shard_worker.splitting.copier import Copier, held_by
from hedgerow.shard_worker.splitting.copy_pace import CopyPace
from hedgerow.shard_worker.storage.store import Store
from tests.integration.support.old_shard import BOOKS, SPLIT, Source
from tests.support.redis_kinds import NODES, ONE, redis_of
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration

MEMORY = 15_000_000
NEW = (0, 1)


@pytest.fixture(scope="module")
def nodes() -> Iterator[RedisSettings]:
    """A Redis Cluster."""
    with redis_of(NODES) as found:
        yield found.redis


@pytest.fixture(params=[ONE, NODES])
def servers(
    request: pytest.FixtureRequest, redis_server: RedisServer, key_prefix: str
) -> RedisSettings:
    """How to reach Redis, of one kind and of another."""
    if request.param == NODES:
        found: RedisSettings = request.getfixturevalue("nodes")
    else:
        found = RedisSettings(url=redis_server.url)
    return found.model_copy(update={"key_prefix": key_prefix})


@pytest.fixture
def keys(servers: RedisSettings) -> Keys:
    """The names of keys there; the new shards are on two nodes."""
    return Keys.of(servers)


@pytest.fixture
async def control(servers: RedisSettings) -> AsyncIterator[RedisClient]:
    """A connection to Redis."""
    control = await connect(servers)
    yield control
    await control.close()


class Old:
    """The old shard, as the cloner of a worker sees it."""

    def __init__(self, folder: Path) -> None:
        self.is_copying = True
        self.is_here = True
        self.will_be_here = False
        self.num_asked = 0  # whether it will be
        self._folder = folder

    @property
    def are_there(self) -> bool:
        """Until the new shards are searched."""
        return self.is_copying

    @property
    def divided(self) -> frozenset[int]:
        """Both."""
        return frozenset(NEW)

    async def workers(self) -> frozenset[str]:
        """Both."""
        return frozenset("ab")

    def folder(self, _shard: int) -> Path | None:
        """Where it is."""
        return self._folder if self.is_here else None

    async def is_late(self, _shard: int) -> bool:
        """What the test says, each time that it is asked."""
        self.num_asked += 1
        return self.will_be_here and not self.is_here


class Replicas:
    """The replicas of the new shards in one worker, which apply their logs and trim them."""

    def __init__(
        self, control: RedisClient, keys: Keys, data: Path, old: Old, share: float
    ) -> None:
        self.log = ShardLog(control, keys.of_layout(1))
        self.data = data
        self._indexer = make_indexer(IndexerConfig(str(data), MEMORY, MEMORY))
        self._budget: Any = None  # nothing asks for it
        self._client = IndexerClient(self)
        self.cloner = ShardCloner(self.log, self._client, data, 2, old, CopyPace(share))
        self.states: dict[int, ShardState] = {}
        self.priorities: list[int] = []  # of the clones that were begun

    async def run(self, work: Task) -> TaskResult:
        """Carry out a command of the indexer."""
        command, arguments = unpack_command(work.payload)
        if command is Command.BEGIN_CLONE:
            self.priorities.append(arguments[-1])
        await asyncio.sleep(0)
        return TaskResult(self._indexer(work.payload, self._budget), 0, 0, 0, None)

    async def take_up(self, shard: int) -> None:
        """Clone a shard and open it, as often as it takes."""
        while shard not in self.states:
            try:
                await self.cloner.fill(shard)
                await self.cloner.check(shard)
            except HedgerowError:
                await asyncio.sleep(0.01)
                continue
            state = await self._client.open(shard)
            if await self.log.gap(shard, state.replica_id, state.position) is None:
                self.states[shard] = state
                await self.log.record_applied(shard, state.replica_id, state.position)
            else:
                await self._client.release(shard)

    async def apply(self) -> None:
        """Apply what the logs have, and trim them as far as all have applied it."""
        for shard in list(self.states):  # others are taken up meanwhile
            for entry in await self.log.read(shard, self.states[shard].position, 1_000_000):
                self.states[shard] = await self._client.apply(shard, entry.id, [entry.op])
            state = self.states[shard]
            applied = await self.log.record_applied(shard, state.replica_id, state.position)
            await self.log.trim_to(shard, min(applied.values(), key=position))
            assert await self.log.gap(shard, state.replica_id, state.position) is None

    def held(self) -> tuple[dict[str, bytes], dict[str, Judgement]]:
        """The documents of both shards, and the judgements that they remember."""
        documents: dict[str, bytes] = {}
        judged: dict[str, Judgement] = {}
        for shard in NEW:
            store = Store.open(self.data / "shards" / str(shard) / "store.sqlite", read_only=True)
            found = dict(store.scan("u"))
            assert all(shard_of(one, 2) == shard for one in found)
            documents |= found
            for one in store.judgements.newest(KEPT_JUDGEMENTS):
                assert judged.setdefault(one.token, one) == one
            store.close()
        return documents, judged

    def close(self) -> None:
        """Close the files."""
        self._indexer.close()


class Splitting:
    """A source whose two workers each serve the old shard, and are to serve both new ones."""

    def __init__(
        self, control: RedisClient, keys: Keys, folder: Path, seed: int, share: float = 1.0
    ) -> None:
        self.control = control
        self.keys = keys
        self.rng = random.Random(seed)
        (folder / "old").mkdir()
        self.source = Source(control, keys, folder / "old" / "store.sqlite", self.rng)
        self.old = Old(folder / "old")
        self.replicas = [Replicas(control, keys, folder / one, self.old, share) for one in "ab"]

    async def begin(self, *, clones: bool = True) -> None:
        """Write something, and have the new shards placed."""
        await self.source.log.append(0, pack_op(Create(BOOKS.to_json())))
        for _ in range(30):
            await self.source.write()
        await self.source.apply()
        now_ms = await self.control.now_ms()
        for worker in "ab":
            beat = Heartbeat(worker, 1, "h", [0], "1", now_ms + 600_000, 0, clones=clones)
            await Registry(self.control, self.keys).beat(beat)
        holders = ShardPlacement(("a", "b"))
        placement = Placement(1, 2, 2, 0, (holders, holders))
        assert await PlacementStore(self.control, self.keys.of_layout(1)).write(placement, 0)

    def copier(self) -> Copier:
        """A copier of the old shard."""
        source = self.source
        return Copier(
            self.control,
            self.keys,
            SPLIT,
            0,
            source.path,
            applied=lambda: source.applied,
            pace=CopyPace(1.0),
            clones=CloneChoice(self.control, self.keys, SPLIT, 5.0),
            replicas_within_s=15.0,
        )

    async def until_all_is_there(self) -> None:
        """Wait until all replicas have applied all that the old log has."""
        (last,) = await Sealing(self.control, self.keys).ends([0])
        states = [one.states for one in self.replicas]

        async def is_there() -> bool:
            for one in self.replicas:
                await one.apply()
            return all(one[shard].position == last for one in states for shard in NEW)

        await until(is_there, 60.0, what="the rest of the log")

    async def check(self, copying: asyncio.Task[None]) -> None:
        """Wait as above, end the copier, and compare every replica with the source."""
        await self.until_all_is_there()
        await end([copying])
        for one in self.replicas:
            assert one.held()[0] == self.source.documents()

    def close(self) -> None:
        """Close all files."""
        self.source.store.close()
        for one in self.replicas:
            one.close()


async def always() -> None:
    """Hold the lease."""
    await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(3))
async def test_clones_and_copiers_that_end_at_any_point_lose_nothing(
    control: RedisClient, keys: Keys, tmp_path: Path, seed: int
) -> None:
    """Writes and trims go on; what is cut off is begun again: all have what the old shard has."""
    split = Splitting(control, keys, tmp_path, seed)
    rng, source = split.rng, split.source
    await split.begin()
    for _ in range(12):
        taking_up = [one.take_up(rng.choice(NEW)) for one in split.replicas]
        some = [split.copier().run(always), *taking_up]
        tasks = [asyncio.create_task(one) for one in some]
        for _ in range(rng.randrange(4)):
            await source.write()
            await source.apply()
            for one in split.replicas:
                await one.apply()
            await asyncio.sleep(rng.random() * 0.02)
        await end(tasks)
    copying = asyncio.create_task(split.copier().run(always))
    await source.write()
    await source.apply()
    async with asyncio.timeout(60.0):
        await asyncio.gather(*(one.take_up(shard) for one in split.replicas for shard in NEW))
    await source.write()
    await source.apply()
    await split.until_all_is_there()
    await end([copying])
    judged = {one.token: one for one in source.store.judgements.newest(KEPT_JUDGEMENTS)}
    for one in split.replicas:
        assert one.held() == (source.documents(), judged)
    # The documents were in no log.
    log = ShardLog(control, split.keys.of_layout(1))
    for shard in NEW:
        assert position(await log.trimmed(shard)) > (0, 0)
    split.close()


async def test_a_clone_that_starves_is_begun_again_with_a_higher_priority(
    control: RedisClient, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on from what the old shard has by then; the clones after it do not starve first."""
    monkeypatch.setattr(cloner, "TURN_S", 0.0)
    monkeypatch.setattr(clone_priority, "PATIENCE_S", 0.0)
    monkeypatch.setattr(clone_priority, "LEAST_SHARE", 1000.0)  # no core gives that much
    split = Splitting(control, keys, tmp_path, 9, share=0.5)
    await split.begin()
    one, two = split.replicas
    copying = asyncio.create_task(split.copier().run(always))
    await asyncio.gather(*(each.take_up(shard) for each in (one, two) for shard in NEW))
    assert one.priorities == [Priority.IDLE, Priority.NICER, Priority.NICER]
    assert one.cloner.upkeep() is Priority.NICER
    assert len(await one.log.applied(0)) == 2, "the log waits for a clone that was given up"
    await split.check(copying)
    split.close()


async def test_statistics_take_what_clones_leave_until_the_shards_are_searched(
    control: RedisClient, keys: Keys, tmp_path: Path
) -> None:
    """A split's searches do not wait for them; then writes do, which may not wait for ever."""
    split = Splitting(control, keys, tmp_path, 9, share=0.5)
    await split.begin()
    one, old = split.replicas[0].cloner, split.old
    assert one.has_old
    assert one.upkeep() is Priority.IDLE
    old.is_copying = False
    assert not one.has_old
    assert one.upkeep() is Priority.NICER
    split.close()


async def test_a_worker_without_the_old_shard_begins_with_nothing_if_documents_are_copied(
    control: RedisClient, keys: Keys, tmp_path: Path
) -> None:
    """One such worker is enough: then the log brings the documents to all."""
    split = Splitting(control, keys, tmp_path, 5)
    await split.begin(clones=False)
    copying = asyncio.create_task(split.copier().run(always))
    split.old.is_here = False
    for one in split.replicas:
        for shard in NEW:
            await one.take_up(shard)
            assert one.states[shard].position == START
    await split.check(copying)
    split.close()


async def test_a_worker_that_begins_with_nothing_is_enough_for_both_halves(
    control: RedisClient, keys: Keys, tmp_path: Path
) -> None:
    """Workers that could clone the other half wait for no copier, which would wait for them."""
    split = Splitting(control, keys, tmp_path, 9)
    await split.begin()
    split.old.is_here = False
    await split.replicas[0].take_up(0)
    split.old.is_here = True
    async with asyncio.timeout(60):
        await asyncio.gather(*(one.take_up(1) for one in split.replicas))
    assert [one.states[1].position for one in split.replicas] == [START, START]
    copying = asyncio.create_task(split.copier().run(always))
    await split.replicas[1].take_up(0)
    await split.check(copying)
    split.close()


async def test_a_worker_waits_for_its_old_shard_if_that_is_late(
    control: RedisClient, keys: Keys, tmp_path: Path
) -> None:
    """It does not begin with nothing, for which all documents would have to be copied."""
    split = Splitting(control, keys, tmp_path, 7)
    await split.begin()
    split.old.is_here, split.old.will_be_here = False, True
    async with asyncio.TaskGroup() as group:
        for one in split.replicas:
            for shard in NEW:
                group.create_task(one.take_up(shard))
        states = [one.states for one in split.replicas]
        await until(lambda: split.old.num_asked > 20 or any(states))
        assert not any(states)
        split.old.is_here = True
        copying = asyncio.create_task(split.copier().run(always))
    await split.check(copying)
    log = ShardLog(control, split.keys.of_layout(1))
    for shard in NEW:
        assert position(await log.trimmed(shard)) > (0, 0), "the documents were in no log"
    split.close()


async def test_documents_are_copied_for_a_replica_that_has_begun_with_nothing(
    control: RedisClient, keys: Keys, tmp_path: Path
) -> None:
    """Even if by now all workers could clone: the replica is open, and would lack them for ever."""
    split = Splitting(control, keys, tmp_path, 8)
    await split.begin()
    split.old.is_here = False
    await split.replicas[0].take_up(0)
    split.old.is_here = True
    copying = asyncio.create_task(split.copier().run(always))
    await asyncio.gather(*(one.take_up(shard) for one in split.replicas for shard in NEW))
    await split.check(copying)
    split.close()


async def test_an_empty_replica_is_not_opened_when_the_documents_were_left_to_clones(
    control: RedisClient, keys: Keys, tmp_path: Path
) -> None:
    """It would lack them for ever; once the old shard is there, it is cloned."""
    split = Splitting(control, keys, tmp_path, 6)
    await split.begin()
    copying = asyncio.create_task(split.copier().run(always))
    first, late = split.replicas
    await first.take_up(0)
    split.old.is_here = False
    assert not await late.cloner.fill(0)
    with pytest.raises(WorkError, match="neither its old shard nor a snapshot"):
        await late.cloner.check(0)
    split.old.is_here = True
    await asyncio.gather(first.take_up(1), *(late.take_up(shard) for shard in NEW))
    await split.until_all_is_there()
    await end([copying])
    assert late.held()[0] == split.source.documents()
    split.close()


@pytest.mark.parametrize("begun", NEW)
async def test_of_two_logs_that_one_server_has_begun_the_other_begins_there(
    control: RedisClient, keys: Keys, tmp_path: Path, begun: int
) -> None:
    """The other server failed then: nothing is copied, and nothing is missing."""
    split = Splitting(control, keys, tmp_path, 7)
    await split.begin()
    begun_at = split.source.applied
    # A copier holds the old log before anything else.
    await split.source.log.record_applied(0, held_by(SPLIT.target.id), begun_at)
    assert await Sealing(control, keys.of_layout(1)).begin_after([begun], begun_at, NOTHING)
    await split.source.write()
    await split.source.apply()
    copying = asyncio.create_task(split.copier().run(always))
    await asyncio.gather(*(one.take_up(shard) for one in split.replicas for shard in NEW))
    await split.check(copying)
    log = ShardLog(control, keys.of_layout(1))
    for shard in NEW:
        assert position(await log.trimmed(shard)) >= position(begun_at)
    split.close()
