"""dramatiq: a queue a shard, a worker process each; the client asks from threads."""

import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.harness.load import Run
from bench.harness.pipe import Setting
from bench.harness.threads import asking_in_threads
from bench.peers.inside import work
from bench.peers.inside.serving import serve
from bench.peers.inside.workers import of_module, run_workers

_WORKER_THREADS = 8
_WORKER_TIMEOUT_MS = 5
SETTINGS = (
    Setting(
        "worker_timeout",
        f"{_WORKER_TIMEOUT_MS} ms",
        "the most that an idle consumer waits between two looks at its queue (default 1 s)",
    ),
    Setting(
        "worker_threads",
        str(_WORKER_THREADS),
        "of each process, the default; twice as many messages are fetched at a time",
    ),
    Setting(
        "group.get_results(block=True)",
        "Redis results",
        "a blocking BRPOPLPUSH each; the client asks from a thread for each query in flight",
    ),
    Setting("middleware", "Results alone", "no retries, no time limits, no metrics"),
)


def _actors(socket: str) -> tuple[RedisBroker, list[Any]]:
    broker = RedisBroker(url=f"unix://{socket}", middleware=[])
    broker.add_middleware(Results(backend=RedisBackend(url=f"unix://{socket}")))
    dramatiq.set_broker(broker)
    actors = [
        dramatiq.actor(
            work.answer,
            actor_name=f"answer-{shard}",
            queue_name=f"shard-{shard}",
            store_results=True,
        )
        for shard in range(work.NUM_SHARDS)
    ]
    return broker, actors


@asynccontextmanager
async def connect(socket: str) -> AsyncIterator[Run]:
    """A client in this process and eight workers."""
    broker, actors = _actors(socket)

    def ask() -> None:
        query = work.next_query()
        asked = dramatiq.group(
            [actor.message(shard, query) for shard, actor in enumerate(actors)], broker=broker
        ).run()
        work.check(asked.get_results(block=True))

    with run_workers(of_module(__spec__.name, socket)):
        yield asking_in_threads(ask)


def run_worker(socket: str, shard: int) -> None:
    """Serve a shard until stopped."""
    broker, _ = _actors(socket)
    worker = dramatiq.Worker(
        broker,
        queues={f"shard-{shard}"},
        worker_timeout=_WORKER_TIMEOUT_MS,
        worker_threads=_WORKER_THREADS,
    )
    worker.start()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    stopped.wait()


if __name__ == "__main__":
    serve(connect, ("dramatiq", "redis", "hiredis"), SETTINGS, run_worker)
