"""taskiq: a queue a shard, a worker process each, by its own command."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from taskiq.serializers import ORJSONSerializer
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from bench.harness.load import Run
from bench.harness.pipe import Setting
from bench.peers.inside import work
from bench.peers.inside.serving import asking_shards, serve
from bench.peers.inside.workers import run_workers

_MODULE = "bench.peers.inside.taskiq"
_SOCKET, _SHARD = "PEER_SOCKET", "PEER_SHARD"
_CHECK_INTERVAL_S = 0.005
SETTINGS = (
    Setting(
        "wait_result(check_interval)",
        f"{_CHECK_INTERVAL_S * 1000:g} ms",
        "how often the client asks whether a result is there (default 0.2 s)",
    ),
    Setting("broker", "ListQueueBroker", "BRPOP; the one of streams acknowledges, and costs more"),
    Setting("serializer", "ORJSONSerializer", "for messages; the fastest of those that it has"),
    Setting(
        "taskiq worker",
        "--workers 1 --no-parse --log-level ERROR",
        "uvloop is used where it is installed; no line about each job, which INFO would write",
    ),
    Setting("keep_results, result_ex_time", "true, 5 s", "results end by themselves"),
)


def _broker(socket: str, shard: int) -> ListQueueBroker:
    url = f"unix://{socket}"
    results: RedisAsyncResultBackend[object] = RedisAsyncResultBackend(url, result_ex_time=5)
    broker = (
        ListQueueBroker(url, queue_name=f"shard-{shard}")
        .with_result_backend(results)
        .with_serializer(ORJSONSerializer())
    )
    broker.register_task(work.answer, task_name="answer")
    return broker


if _SHARD in os.environ:  # `taskiq worker` looks for its broker in the module
    broker = _broker(os.environ[_SOCKET], int(os.environ[_SHARD]))


@asynccontextmanager
async def connect(socket: str) -> AsyncIterator[Run]:
    """A client in this process and eight workers."""
    brokers = [_broker(socket, shard) for shard in range(work.NUM_SHARDS)]
    for one in brokers:
        await one.startup()
    tasks = [one.find_task("answer") for one in brokers]

    async def one_shard(shard: int, query: str) -> object:
        asked = await tasks[shard].kiq(shard, query)
        result = await asked.wait_result(check_interval=_CHECK_INTERVAL_S)
        result.raise_for_error()
        return result.return_value

    def command(_: int) -> list[str]:
        return [
            "-m",
            "taskiq",
            "worker",
            f"{_MODULE}:broker",
            "--workers",
            "1",
            "--no-parse",
            "--log-level",
            "ERROR",
        ]

    with run_workers(command, lambda shard: {_SOCKET: socket, _SHARD: str(shard)}):
        yield asking_shards(one_shard)
    for one in brokers:
        await one.shutdown()


if __name__ == "__main__":
    serve(connect, ("taskiq", "taskiq-redis", "redis", "hiredis", "orjson", "uvloop"), SETTINGS)
