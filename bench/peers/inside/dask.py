"""dask.distributed, eight worker processes: `… -m bench.peers.inside.dask SOCKET submit|actors`."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster

from bench.harness.load import Run
from bench.harness.pipe import Setting
from bench.peers.inside import work
from bench.peers.inside.serving import asking, serve

SETTINGS = (
    Setting(
        "LocalCluster",
        f"n_workers={work.NUM_SHARDS}, threads_per_worker=1, processes=True, "
        "dashboard_address=None",
        "a process a shard, and nothing beside",
    ),
    Setting("Client", "asynchronous=True", "in the client's own event loop, without a thread"),
    Setting("submit(pure=False, workers=…)", "set", "nothing is hashed; each shard has its worker"),
    Setting(
        "submit(actor=True)",
        "for the actors",
        "a call goes from the client to the worker, past the scheduler",
    ),
    Setting(
        "distributed.scheduler.work-stealing, distributed.scheduler.active-memory-manager.start",
        "false",
        "nothing is to be moved",
    ),
)


class Shard:
    """An actor that holds a shard."""

    def answer(self, shard: int, query: str) -> Any:
        """What the shard replies."""
        return work.answer(shard, query)


@asynccontextmanager
async def connect(_: str) -> AsyncIterator[Run]:
    """A client and a scheduler in this process, and eight workers."""
    dask.config.set(
        {
            "distributed.scheduler.work-stealing": False,
            "distributed.scheduler.active-memory-manager.start": False,
        }
    )
    async with (
        LocalCluster(
            n_workers=work.NUM_SHARDS,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            asynchronous=True,
        ) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        workers = [nanny.worker_address for nanny in cluster.workers.values()]
        if sys.argv[2] == "actors":
            actors = [
                await client.submit(Shard, actor=True, workers=[one], pure=False) for one in workers
            ]
            yield asking(lambda: _ask_actors(actors))
        else:
            yield asking(lambda: _ask_workers(client, workers))


async def _ask_workers(client: Any, workers: list[str]) -> None:
    query = work.next_query()
    futures = [
        client.submit(work.answer, shard, query, workers=[worker], pure=False)
        for shard, worker in enumerate(workers)
    ]
    work.check(await client.gather(futures))


async def _ask_actors(actors: list[Any]) -> None:
    query = work.next_query()
    work.check(
        await asyncio.gather(*(actor.answer(shard, query) for shard, actor in enumerate(actors)))
    )


if __name__ == "__main__":
    serve(connect, ("dask", "distributed", "tornado"), SETTINGS)
