"""A cluster's write path with jobs, in one process, and a collection whose words are counted."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.statistics import StatisticsStore, replica_of
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.documents import Documents
from hedgerow.gateway.writes.ranked_loads import RankedLoads
from hedgerow.shard_worker.control.jobs import Jobs
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.storage.term_statistics import TermStatistics
from hedgerow.shard_worker.wiring import indexer_lane
from tests.integration.support.write_path import following, opened, running
from tests.support.launching import start_forkserver
from tests.support.servers import RedisServer

NUM_SHARDS = 4
WORDS = ["river", "stone", "cloud", "ember", "willow"]
PLAIN = {"fields": {"title": "text"}, "language": "none"}


@dataclass
class Member:
    """One worker's applier and jobs, with a folder of its own."""

    settings: Settings
    applier: Applier
    jobs: Jobs

    def path(self, uid: str) -> Path:
        """The file that this worker's scorers read."""
        return self.settings.data / "statistics" / f"{uid}.sqlite"

    def has_table(self, uid: str) -> bool:
        """Whether that file exists."""
        return self.path(uid).exists()

    def table(self, uid: str) -> TermStatistics:
        """Its present contents; the caller closes it."""
        return TermStatistics.open(self.path(uid))


@dataclass
class Town:
    """A cluster's write path with jobs, in one process."""

    server: RedisServer
    folder: Path
    control: RedisClient
    keys: Keys
    collections: Collections
    documents: Documents
    board: StatisticsStore

    @property
    def log(self) -> ShardLog:
        """The shards' logs."""
        return ShardLog(self.control, self.keys)

    def settings(self, name: str, interval_s: float = 60.0) -> Settings:
        """Settings of one worker."""
        return Settings(
            data=self.folder / name,
            redis=RedisSettings(url=self.server.url, key_prefix=self.keys.prefix),
            worker=WorkerSettings(statistics_interval_s=interval_s),
        )

    @asynccontextmanager
    async def worker(
        self, name: str, *shards: int, interval_s: float = 60.0
    ) -> AsyncIterator[Member]:
        """A worker of these shards, for the block."""
        settings = self.settings(name, interval_s)
        lane = indexer_lane(settings, start_forkserver)
        async with opened(self.control, settings, shards, lane) as applier:
            jobs = Jobs(self.control, self.keys, applier, IndexerClient(lane), settings)
            for shard in shards:
                jobs.serve(shard)
            async with running(following(applier), jobs.run()):
                yield Member(settings, applier, jobs)

    async def is_spread(self, uid: str, *members: Member, shards: int = NUM_SHARDS) -> bool:
        """Whether all workers have the sum of all shards' newest statistics."""
        status = (await self.board.status([uid], NUM_SHARDS))[uid]
        return (
            len(status.labels) == shards
            and status.is_current
            and all(one.jobs.tables().get(uid) == status.version.hex() for one in members)
        )

    async def counts(self, uid: str, documents: int, *members: Member) -> bool:
        """Whether all workers have the same table, and it counts this many documents."""
        if not await self.is_spread(uid, *members):
            return False
        found = set()
        for member in members:
            table = member.table(uid)
            found.add(table.documents)
            table.close()
        return found == {documents}

    async def is_collected_by(self, uid: str, replicas: set[str]) -> bool:
        """Whether the statistics of all shards are those of these replicas."""
        status = (await self.board.status([uid], NUM_SHARDS))[uid]
        return {replica_of(label) for label in status.labels.values()} <= replicas

    @asynccontextmanager
    async def waiting_for(self, *members: Member) -> AsyncIterator[Documents]:
        """Loads that wait until these workers rank by what they have brought, for the block."""

        def live_replicas(shard: int) -> list[str]:
            states = [one.applier.states[shard] for one in members if shard in one.applier.states]
            return [state.replica_id for state in states]

        ranked = RankedLoads(
            store=self.board,
            registry=Registry(self.control, self.keys),
            live_replicas=live_replicas,
            timeout_s=60.0,
        )
        log, limits = self.log, Settings().limits
        documents = Documents(
            log, self.collections, NUM_SHARDS, limits, write_timeout_s=60, ranked=ranked
        )

        async def listen() -> None:
            async for event in self.control.events(self.keys.events):
                ranked.take(event)

        listening = asyncio.create_task(listen())
        try:
            yield documents
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    @asynccontextmanager
    async def beating(self, *members: Member) -> AsyncIterator[None]:
        """Heartbeats of these workers, for the block; they are gone afterwards."""
        registry = Registry(self.control, self.keys)

        async def beat() -> None:
            while True:
                seconds, _ = await self.control.execute("TIME")
                for member in members:
                    heartbeat = Heartbeat(
                        member.settings.data.name,
                        1,
                        "here",
                        version="1",
                        beat_at_ms=int(seconds) * 1000,
                        started_at_ms=0,
                        **member.applier.progress(),
                    )
                    await registry.beat(heartbeat)
                await asyncio.sleep(0.3)

        beating = asyncio.create_task(beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait([beating])
            for member in members:
                await registry.forget_worker(member.settings.data.name)


@pytest.fixture
async def town(redis_server: RedisServer, key_prefix: str, tmp_path: Path) -> AsyncIterator[Town]:
    """A cluster without workers, and a collection of plain words."""
    control = await connect(RedisSettings(url=redis_server.url))
    keys = Keys(key_prefix)
    registry = Registry(control, keys)
    await registry.cluster(NUM_SHARDS)
    settings = Settings()
    collections = Collections(registry, NUM_SHARDS, settings.rank_profiles)
    documents = Documents(
        ShardLog(control, keys), collections, NUM_SHARDS, settings.limits, write_timeout_s=60
    )
    board = StatisticsStore(control, keys)
    yield Town(redis_server, tmp_path, control, keys, collections, documents, board)
    await control.close()


def texts(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Documents in which the words are rare to frequent."""
    return [
        {"id": f"d{n}", "title": " ".join(w for k, w in enumerate(WORDS) if n % (k + 1) == 0)}
        for n in range(first, first + count)
    ]


def frequencies(documents: list[dict[str, Any]]) -> Counter[str]:
    """In how many documents each word occurs, counted without any index."""
    counted: Counter[str] = Counter()
    for document in documents:
        counted.update(set(re.findall(r"\w+", document["title"])))
    return counted
