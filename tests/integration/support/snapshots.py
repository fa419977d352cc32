"""What snapshot tests do to a cluster and ask it; its snapshots are made on command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hedgerow.common.errors import HedgerowError
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.snapshots.status import SnapshotFacts, SnapshotRecords
from hedgerow.gateway.gateway import Gateway
from tests.support.clusters import Cluster, ask
from tests.support.servers import RedisServer
from tests.support.waiting import until

NUM_SHARDS = 2
PREFIX = "hedgerow"


@asynccontextmanager
async def boarding(server: RedisServer) -> AsyncIterator[tuple[SnapshotRecords, ShardLog]]:
    """What Redis knows of the snapshots and logs."""
    settings = Cluster(server, Path()).settings.redis
    control = await connect(settings)
    try:
        yield SnapshotRecords(control, Keys(PREFIX)), ShardLog(control, Keys(PREFIX))
    finally:
        await control.close()


async def make_snapshots(server: RedisServer, num_shards: int) -> dict[int, SnapshotFacts]:
    """Ask for a snapshot of every shard, and wait until each is complete."""
    async with boarding(server) as (board, _):
        asked_at_ms = await board.want(range(num_shards))

        made: dict[int, SnapshotFacts] = {}

        async def are_made() -> bool:
            status = await board.status(range(num_shards))
            # Kept as it was found: the next one may replace it while this one is looked for again.
            made.update(
                (shard, one.newest)
                for shard, one in status.items()
                if one.newest and one.newest.made_at_ms >= asked_at_ms
            )
            return len(made) == num_shards

        await until(are_made)
        return made


def documents(first: int, last: int) -> list[dict[str, Any]]:
    """Documents with a word that all have and one of their own."""
    return [{"id": f"d{n}", "text": f"common word{n}"} for n in range(first, last)]


def ids(first: int, last: int) -> set[str]:
    """The ids of `documents`."""
    return {one["id"] for one in documents(first, last)}


def lose_disks(cluster: Cluster) -> None:
    """Kill every worker, and remove its data folder."""
    for worker in list(cluster.workers):
        cluster.lose(worker)


def restart(cluster: Cluster) -> None:
    """Start every worker again."""
    for worker in range(cluster.num_workers):
        cluster.start(worker)


async def is_found(gateway: Gateway, expected: set[str]) -> bool:
    """Whether exactly these are found.

    Workers that were just killed may still count as live, and those just started not yet.
    """
    try:
        result = await ask(gateway, "books", "common", k=1000, deadline_ms=2000.0)
    except (HedgerowError, TimeoutError):
        return False
    return result.coverage.fraction == 1.0 and {hit.id for hit in result.hits} == expected
