"""saq: a queue a shard, an asyncio worker each."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from saq import Worker
from saq.job import TERMINAL_STATUSES, Status
from saq.queue.redis import RedisQueue

from bench.harness.load import Run
from bench.harness.pipe import Setting
from bench.peers.inside import work
from bench.peers.inside.serving import asking_shards, serve
from bench.peers.inside.workers import of_module, run_workers

_CONCURRENCY = 32
SETTINGS = (
    Setting(
        "Queue.listen",
        "instead of Queue.apply",
        "waits by Pub/Sub, where apply looks every 0.5 s; a worker waits by BLMOVE",
    ),
    Setting(
        "Queue.listen for a job that does not exist",
        "kept for as long as the client runs",
        "a queue whose last listener leaves ends its subscription, and the next one starts another",
    ),
    Setting("concurrency", str(_CONCURRENCY), "jobs that a worker runs at a time (default 10)"),
    Setting("logging", "disabled", "no worker writes a line about each job"),
)


def _is_terminal(_: str, status: Status) -> bool:
    return status in TERMINAL_STATUSES


async def answer(_: dict[str, Any], *, shard: int, query: str) -> Any:
    """The task."""
    return work.answer(shard, query)


def _queue(socket: str, shard: int) -> RedisQueue:
    return RedisQueue(Redis.from_url(f"unix://{socket}"), name=f"shard-{shard}")


@asynccontextmanager
async def connect(socket: str) -> AsyncIterator[Run]:
    """A client in this process and eight workers."""
    queues = [_queue(socket, shard) for shard in range(work.NUM_SHARDS)]

    async def one(shard: int, query: str) -> Any:
        queue, key = queues[shard], uuid.uuid4().hex
        # Listening starts before the job is enqueued, or a quick worker's message would be missed.
        finished = asyncio.create_task(queue.listen([key], _is_terminal, timeout=10.0))
        await queue.enqueue("answer", key=key, shard=shard, query=query)
        await finished
        job = await queue.job(key)
        assert job is not None
        return job.result

    # A queue without listeners unsubscribes; these listeners keep each subscription.
    kept = [
        asyncio.create_task(queue.listen(["nobody's"], _is_terminal, timeout=None))
        for queue in queues
    ]
    with run_workers(of_module(__spec__.name, socket)):
        yield asking_shards(one)
    for task in kept:
        task.cancel()
    for queue in queues:
        await queue.disconnect()


def run_worker(socket: str, shard: int) -> None:
    """Serve a shard until stopped."""
    logging.disable()
    worker = Worker(_queue(socket, shard), [answer], concurrency=_CONCURRENCY)
    asyncio.run(worker.start())


if __name__ == "__main__":
    serve(connect, ("saq", "redis", "hiredis"), SETTINGS, run_worker)
