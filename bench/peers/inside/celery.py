"""Celery, prefork: eight child processes under one worker; the client asks from threads.

Any child serves any shard here, since a worker for each shard would double the processes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from celery import Celery

from bench.harness.load import Run
from bench.harness.pipe import Setting
from bench.harness.threads import asking_in_threads
from bench.peers.inside import work
from bench.peers.inside.serving import serve
from bench.peers.inside.workers import of_module, run_workers

_PREFETCH = 64
_POOL_LIMIT = 32
SETTINGS = (
    Setting(
        "--pool prefork --concurrency",
        str(work.NUM_SHARDS),
        "child processes of one worker, with one queue",
    ),
    Setting(
        "worker_prefetch_multiplier",
        str(_PREFETCH),
        "large for many short tasks where round trips count, “say 64, or 128” (default 4)",
    ),
    Setting(
        "--without-gossip --without-mingle --without-heartbeat",
        "set",
        "no events between workers; there is one",
    ),
    Setting("worker_enable_remote_control", "false", "no control queue to listen to beside"),
    Setting(
        "task_acks_late, task_track_started", "false", "their defaults: the least that is sent"
    ),
    Setting("result_backend", "Redis", "results come by Pub/Sub; result_expires 5 s"),
    Setting(
        "broker_pool_limit",
        str(_POOL_LIMIT),
        "connections of the client: one for each query in flight (default 10)",
    ),
    Setting("--loglevel", "ERROR", "less than its default, WARNING; neither tells of each task"),
    Setting("client", "apply_async() and get() of each", "from a thread for each query in flight"),
)


def make_app(socket: str) -> Celery:
    """The application, as client and worker have it."""
    app = Celery("peer", broker=f"redis+socket://{socket}", backend=f"redis+socket://{socket}")
    app.conf.update(
        worker_prefetch_multiplier=_PREFETCH,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        result_expires=5,
        broker_pool_limit=_POOL_LIMIT,
    )
    app.task(work.answer, name="answer", bind=False)
    return app


@asynccontextmanager
async def connect(socket: str) -> AsyncIterator[Run]:
    """A client in this process and a worker with eight children."""
    app = make_app(socket)
    task = app.tasks["answer"]

    def ask() -> None:
        query = work.next_query()
        asked = [task.apply_async((shard, query)) for shard in range(work.NUM_SHARDS)]
        work.check(one.get(timeout=10.0) for one in asked)

    with run_workers(of_module(__spec__.name, socket), count=1):
        yield asking_in_threads(ask)


def run_worker(socket: str, _shard: int) -> None:
    """Serve all shards until stopped."""
    arguments: list[Any] = ["worker", "--pool", "prefork", "--concurrency", str(work.NUM_SHARDS)]
    arguments += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    make_app(socket).worker_main([*arguments, "--loglevel", "ERROR"])


if __name__ == "__main__":
    serve(connect, ("celery", "kombu", "redis", "hiredis"), SETTINGS, run_worker)
