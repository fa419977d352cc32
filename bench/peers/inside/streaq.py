"""streaq: a queue a shard on Redis streams, an asyncio worker each."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from streaq import Worker

from bench.harness.load import Run
from bench.harness.pipe import Setting
from bench.peers.inside import work
from bench.peers.inside.serving import asking_shards, serve
from bench.peers.inside.workers import of_module, run_workers

_CONCURRENCY = 16
SETTINGS = (
    Setting(
        "Task.result",
        "as it is",
        "waits by Pub/Sub, a worker by XREADGROUP: nothing polls; but the end of each subscription "
        "takes coredis 100 ms (its unsubscription_timeout, which streaq does not set)",
    ),
    Setting("concurrency, prefetch", f"{_CONCURRENCY}", "their defaults"),
    Setting("ttl", "5 s", "how long a result is kept (default 5 min)"),
    Setting("logging", "disabled", "no worker writes a line about each job"),
)


async def answer(shard: int, query: str) -> Any:
    """The task."""
    return work.answer(shard, query)


def _worker(socket: str, shard: int) -> Any:
    worker: Any = Worker(
        redis_url=f"unix://{socket}", queue_name=f"shard-{shard}", concurrency=_CONCURRENCY
    )

    return worker, worker.task(ttl=5, name="answer")(answer)


@asynccontextmanager
async def connect(socket: str) -> AsyncIterator[Run]:
    """A client in this process and eight workers."""
    async with AsyncExitStack() as opened:
        tasks = []
        for shard in range(work.NUM_SHARDS):
            worker, task = _worker(socket, shard)
            await opened.enter_async_context(worker)
            tasks.append(task)

        async def one(shard: int, query: str) -> Any:
            asked = await tasks[shard].enqueue(shard, query)
            return (await asked.result(10)).result

        with run_workers(of_module(__spec__.name, socket)):
            yield asking_shards(one)


def run_worker(socket: str, shard: int) -> None:
    """Serve a shard until stopped."""
    logging.disable()
    _worker(socket, shard)[0].run_sync()


if __name__ == "__main__":
    serve(connect, ("streaq", "coredis"), SETTINGS, run_worker)
