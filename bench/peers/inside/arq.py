"""arq: a queue a shard, an asyncio worker each."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func

from bench.harness.load import Run
from bench.harness.pipe import Setting
from bench.peers.inside import work
from bench.peers.inside.serving import asking_shards, serve
from bench.peers.inside.workers import of_module, run_workers

if TYPE_CHECKING:
    from arq.typing import WorkerCoroutine

_POLL_S = 0.005
_MAX_JOBS = 32
_KEEP_RESULT_S = 5
SETTINGS = (
    Setting(
        "poll_delay of Worker and of Job.result",
        f"{_POLL_S * 1000:g} ms",
        "how often the queue and the result are looked at (default 0.5 s); of 2 to 20 ms the best",
    ),
    Setting("max_jobs", str(_MAX_JOBS), "jobs that a worker runs at a time (default 10)"),
    Setting("keep_result", f"{_KEEP_RESULT_S} s", "how long a result is kept (default 1 h)"),
    Setting("logging", "disabled", "no worker writes a line about each job"),
)


async def answer(_: dict[Any, Any], shard: int, query: str) -> Any:
    """The task."""
    return work.answer(shard, query)


@asynccontextmanager
async def connect(socket: str) -> AsyncIterator[Run]:
    """A client in this process and eight workers."""
    pool = await create_pool(RedisSettings(unix_socket_path=socket))

    async def one(shard: int, query: str) -> Any:
        job = await pool.enqueue_job("answer", shard, query, _queue_name=f"shard-{shard}")
        assert job is not None
        return await job.result(poll_delay=_POLL_S)

    with run_workers(of_module(__spec__.name, socket)):
        yield asking_shards(one)
    await pool.aclose()


def run_worker(socket: str, shard: int) -> None:
    """Serve a shard until stopped."""
    logging.disable()
    Worker(
        functions=[func(cast("WorkerCoroutine", answer), name="answer")],
        queue_name=f"shard-{shard}",
        redis_settings=RedisSettings(unix_socket_path=socket),
        poll_delay=_POLL_S,
        max_jobs=_MAX_JOBS,
        keep_result=_KEEP_RESULT_S,
    ).run()


if __name__ == "__main__":
    serve(connect, ("arq", "redis", "hiredis"), SETTINGS, run_worker)
