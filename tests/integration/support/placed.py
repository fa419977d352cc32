"""A cluster whose workers join, and a placement that the test writes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from hedgerow.common.placement.document import Placement, ShardPlacement
from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchResult
from tests.support.clusters import Cluster, ask
from tests.support.waiting import rested, until


@dataclass
class Placing:
    """What a test sees of the placement, and how it changes it."""

    cluster: Cluster
    store: PlacementStore
    registry: Registry
    log: ShardLog
    version: int = 0

    async def place(
        self,
        owners: Mapping[int, Sequence[str]],
        joining: Mapping[int, Sequence[str]] = MappingProxyType({}),
    ) -> int:
        """Write a placement; returns its version."""
        self.version += 1
        shards = tuple(
            ShardPlacement(tuple(owners.get(shard, ())), tuple(joining.get(shard, ())))
            for shard in range(self.cluster.num_shards)
        )
        placement = Placement(self.version, self.cluster.num_shards, 1, 0, shards)
        assert await self.store.write(placement, self.version - 1)
        return self.version

    async def beat(self, worker: str) -> Heartbeat | None:
        """A worker's last heartbeat, if it is fresh."""
        return (await self.registry.live_heartbeats(1.0)).get(worker)

    async def until_is(self, worker: int) -> None:
        """Wait for a heartbeat of a worker's present process, which was started again."""

        async def is_it() -> bool:
            beat = await self.beat(f"w{worker}")
            return beat is not None and beat.pid == self.cluster.workers[worker].pid

        await until(is_it, what=f"w{worker} is back")

    async def serves(self, worker: str, *shards: int) -> bool:
        """Whether a worker serves exactly these shards."""
        beat = await self.beat(worker)
        return beat is not None and beat.shards == list(shards)

    async def until_serves(self, worker: str, *shards: int, timeout_s: float = 60.0) -> None:
        """Wait until a worker serves exactly these shards."""
        await until(
            lambda: self.serves(worker, *shards), timeout_s, what=f"{worker} serves {shards}"
        )

    async def until_carried_out(self, *workers: str, timeout_s: float = 60.0) -> None:
        """Wait until these workers have carried out the newest placement."""

        async def is_carried_out() -> bool:
            beats = [await self.beat(worker) for worker in workers]
            return all(beat is not None and beat.placement == self.version for beat in beats)

        await until(is_carried_out, timeout_s, what=f"{workers} have done {self.version}")

    def has_folder(self, worker: int, shard: int) -> bool:
        """Whether there is anything of a shard in a worker's data folder."""
        return (self.cluster.data(worker) / "shards" / str(shard)).exists()

    async def is_forgotten(self, shard: int, num_replicas: int) -> bool:
        """Whether a log waits for this number of replicas."""
        return len(await self.log.applied(shard)) == num_replicas


@asynccontextmanager
async def placing(cluster: Cluster) -> AsyncIterator[Placing]:
    """The placement of a cluster, for the block."""
    control, keys = await connect(cluster.settings.redis), Keys()
    try:
        # As long as the lease is held, no worker asks the policy.
        await control.execute("SET", keys.placement_lease, "the test")
        yield Placing(
            cluster,
            PlacementStore(control, keys),
            Registry(control, keys),
            ShardLog(control, keys),
        )
    finally:
        await control.close()


@dataclass
class Questions:
    """Queries that are asked one after the other while something happens.

    Attributes:
        results: their results, in order.
    """

    results: list[SearchResult] = field(default_factory=list)

    def check(self, expected: set[str], least: int) -> None:
        """Each answer was whole, and there were at least `least` of them."""
        assert len(self.results) >= least
        for number, result in enumerate(self.results):
            assert result.coverage.fraction == 1.0, (number, len(self.results), result)
            found = {hit.id for hit in result.hits}
            assert found == expected, (number, len(self.results), found ^ expected)


@asynccontextmanager
async def asking(
    gateway: Gateway, collection: str, query: str, num_askers: int = 2
) -> AsyncIterator[Questions]:
    """Queries for the block, by several askers; an error of one fails the block."""
    questions, is_over = Questions(), asyncio.Event()

    async def keep_asking() -> None:
        while not is_over.is_set():
            async with rested():
                result = await ask(gateway, collection, query, k=1000, deadline_ms=5000.0)
            questions.results.append(result)

    async with asyncio.TaskGroup() as group:
        for _ in range(num_askers):
            group.create_task(keep_asking())
        try:
            yield questions
        finally:
            is_over.set()
