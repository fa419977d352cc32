"""The write path in one process: gateway's side, appliers and real indexer processes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.aliases import AliasStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import run_together
from hedgerow.gateway.writes.aliases import Aliases
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.documents import Documents
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.shard_report import ShardState
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.wiring import indexer_lane
from tests.support.launching import start_forkserver
from tests.support.servers import RedisServer

NUM_SHARDS = 2
BOOKS = {"fields": {"title": "text", "year": "integer"}}


@dataclass
class WritePath:
    """What one test writes through.

    Attributes:
        states: shard → what the applier last reported.
        counters: the applier's.
    """

    settings: Settings
    control: RedisClient
    keys: Keys
    registry: Registry
    log: ShardLog
    aliases: Aliases
    collections: Collections
    documents: Documents
    states: dict[int, ShardState] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)

    def indexer_lane(self) -> ProcessLane:
        """A lane of one indexer of all shards, for `applying` to start and close."""
        return indexer_lane(self.settings, start_forkserver)

    @asynccontextmanager
    async def applying(self, lane: ProcessLane | None = None) -> AsyncIterator[Applier]:
        """One worker that applies all shards, for the block; by its own indexer, or by `lane`."""
        async with (
            opened(
                self.control,
                self.settings,
                tuple(range(NUM_SHARDS)),
                lane,
                on_state=lambda state: self.states.__setitem__(state.shard, state),
                counters=self.counters,
            ) as applier,
            running(following(applier)),
        ):
            yield applier

    async def is_drained(self) -> bool:
        """Whether every log is empty: applied, and trimmed."""
        return set((await self.log.lengths(range(NUM_SHARDS))).values()) == {0}

    def index_folders(self) -> set[str]:
        """The names of all text indexes' folders."""
        shards = self.settings.data / "shards"
        return {folder.name for folder in shards.glob("*/*") if folder.is_dir()}

    def stored(self, uid: str) -> dict[str, dict[str, Any]]:
        """Every document in the stores of all shards, by id; fails where one is there twice."""
        found: dict[str, dict[str, Any]] = {}
        for shard in range(NUM_SHARDS):
            path = self.settings.data / "shards" / str(shard) / "store.sqlite"
            store = Store.open(path, read_only=True)
            for one, body in store.scan(uid):
                assert one not in found
                found[one] = json.loads(body)
            store.close()
        return found

    def indexed(self, uid: str) -> list[str]:
        """The ids that the text indexes of all shards find, sorted; an id found twice is twice."""
        found: list[str] = []
        for shard in range(NUM_SHARDS):
            index = TextIndex.open(self.settings.data / "shards" / str(shard) / uid)
            every = index.parse_native("*")
            hits = index.searcher.search(every, max(index.searcher.num_docs, 1)).hits
            found += index.ids([address for _, address in hits])
        return sorted(found)


@asynccontextmanager
async def opened(
    control: RedisClient,
    settings: Settings,
    shards: tuple[int, ...],
    lane: ProcessLane | None = None,
    *,
    on_state: Callable[[ShardState], None] = lambda _state: None,
    counters: Counters | None = None,
    **options: Any,
) -> AsyncIterator[Applier]:
    """An applier that has opened its shards, and does not run yet; its indexer ends with the block.

    Args:
        control: to the server of the logs.
        settings: of the worker that it stands for.
        shards: which it applies.
        lane: of its indexer, not started yet; None for one of its own.
        on_state: as of `Applier`, like `options`.
        counters: the same.
        options: further ones of `Applier`.
    """
    keys = Keys(settings.redis.key_prefix)
    lane = lane or indexer_lane(settings, start_forkserver)
    await lane.start()
    try:
        applier = Applier(
            control,
            keys,
            Registry(control, keys),
            IndexerClient(lane),
            settings,
            on_state,
            counters or Counters(),
            **options,
        )
        for shard in shards:
            await applier.open(shard)
            applier.serve(shard)
        yield applier
    finally:
        await lane.close(5.0)


async def following(applier: Applier) -> None:
    """Have an applier follow the logs of the shards that it has opened."""
    await run_together(applier.run(), *map(applier.follow, applier.states))


@asynccontextmanager
async def running(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have coroutines that do not end by themselves run for the block."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)


@asynccontextmanager
async def writing(
    server: RedisServer,
    prefix: str,
    data: Path,
    limits: dict[str, int] | None = None,
    write_timeout_s: float = 60.0,
) -> AsyncIterator[WritePath]:
    """A gateway's side of the write path, for the block; nothing is applied yet."""
    settings = Settings(
        data=data,
        redis=RedisSettings(url=server.url, key_prefix=prefix, reconnect_max_s=0.2),
        limits=LimitSettings(**(limits or {})),
    )
    control = await connect(settings.redis)
    keys = Keys(prefix)
    registry, log = Registry(control, keys), ShardLog(control, keys)
    await registry.cluster(NUM_SHARDS)
    aliases = Aliases(AliasStore(control, keys), settings.limits.max_aliases)
    collections = Collections(registry, NUM_SHARDS, settings.rank_profiles, aliases=aliases)
    documents = Documents(
        log, collections, NUM_SHARDS, settings.limits, write_timeout_s=write_timeout_s
    )
    try:
        yield WritePath(settings, control, keys, registry, log, aliases, collections, documents)
    finally:
        await control.close()


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    """A stream of these chunks."""
    for chunk in chunks:
        yield chunk


def books(count: int, title: str = "the book") -> list[dict[str, Any]]:
    """Documents b0, b1, and so on."""
    return [{"id": f"b{n}", "title": f"{title} {n}", "year": 1900 + n % 100} for n in range(count)]


def by_id(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The model of a collection."""
    return {document["id"]: document for document in documents}


@pytest.fixture
async def path(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> AsyncIterator[WritePath]:
    """A gateway's side of the write path; nothing is applied yet."""
    async with writing(redis_server, key_prefix, tmp_path) as path:
        yield path
