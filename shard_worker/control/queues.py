"""Queues of jobs in Redis, by arq; this is the only module that imports it.

Jobs are durable, retried, and unique by id. All queues that are served are polled together, once a
second; arq polls only those that have jobs. Its own keys (`arq:job:…`) lie outside of the cluster's
prefix; the ids in them begin with it.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, cast

import msgpack
import structlog
from arq import Retry
from arq.connections import ArqRedis
from arq.worker import Function, Worker, func

from hedgerow.common.redis.client import pause_s
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.pool import close_pool, connection_pool
from hedgerow.common.redis.primary import Primary
from hedgerow.common.redis.translation import translated
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.shard_worker.control.due_queues import DueQueues

if TYPE_CHECKING:
    from arq.typing import WorkerCoroutine

JOB_TIMEOUT_S = 30
MAX_TRIES = 5
JOB_AGAIN_S = 10.0  # many times as long as a job takes, since a job that runs twice is a waste
POLL_S = 1.0
SOON_S = 0.1  # between two looks whether the jobs that waited have ended

_log = structlog.get_logger()


def retry(defer_s: float | None = None) -> Exception:
    """What a job raises to be run again after `defer_s`; None for 1 to 3 s, at random."""
    return Retry(defer=random.uniform(1.0, 3.0) if defer_s is None else defer_s)


class JobQueues:
    """Enqueues jobs, and runs those of the queues that this worker serves."""

    def __init__(self, redis: ArqRedis, keys: Keys, settings: RedisSettings) -> None:
        self._redis = redis
        self._keys = keys
        self._settings = settings
        self._due = DueQueues(self._count_due)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, keys: Keys, settings: RedisSettings, primary: Primary
    ) -> AsyncIterator[Self]:
        """Queues over connections of their own to `primary`, which are closed at the end."""
        pool = connection_pool(settings, primary, settings.command_timeout_s)
        leaving: set[asyncio.Task[None]] = set()

        def leave() -> None:  # arq's next command connects to where the primary is then
            task = asyncio.create_task(close_pool(pool), name="leave the old primary")
            leaving.add(task)
            task.add_done_callback(leaving.discard)

        unfollow = primary.follow(leave)
        redis = ArqRedis(
            pool_or_conn=pool,
            job_serializer=_serialize,
            job_deserializer=msgpack.unpackb,
            default_queue_name=keys.jobs,
        )
        try:
            yield cls(redis, keys, settings)
        finally:
            unfollow()
            await asyncio.gather(*leaving)
            await close_pool(pool)

    async def enqueue(
        self,
        queue: str,
        function: str,
        *arguments: object,
        job_id: str,
        again_s: float | None = None,
        defer_s: float | None = None,
    ) -> None:
        """Request a job; does nothing if an equal job is waiting or running.

        arq refuses a job while there is one with its id, and keeps the job of a killed worker
        locked. So the id changes every `again_s`, after which an equal job is accepted.

        Args:
            queue: the queue.
            function: the name of the function that runs it (`serve`).
            arguments: its arguments, which MessagePack must be able to encode.
            job_id: identifies the job; equal for equal requests.
            again_s: longest time for which an equal job is refused, in s; None for 10 s.
            defer_s: how long the job waits before it runs, in s; None for not at all.

        Raises:
            RedisUnavailableError: there is no answer.
        """
        period = int(time.time() / (JOB_AGAIN_S if again_s is None else again_s))
        with translated("enqueue"):
            await self._redis.enqueue_job(
                function,
                *arguments,
                _job_id=f"{self._keys.own}:{job_id}:{period}",
                _queue_name=queue,
                _defer_by=defer_s,
            )

    async def serve(
        self,
        queue: str,
        name: str,
        job: Callable[..., Awaitable[None]],
        timeout_s: float | None = None,
    ) -> None:
        """Run the jobs of a queue, one at a time, until cancelled, while `watch` is running.

        Args:
            queue: the queue.
            name: the name of the function, as in `enqueue`.
            job: the function; it raises `retry` to be called again.
            timeout_s: a job that takes longer is cancelled; None for 30 s.
        """

        async def run(_context: dict[str, Any], *arguments: object) -> None:
            await job(*arguments)

        function = func(cast("WorkerCoroutine", run), name=name, timeout=timeout_s)
        while True:
            await self._run(queue, function, POLL_S)
            await self._due.until_due(queue)

    async def watch(self) -> None:
        """Look for jobs in the queues that are served, until cancelled."""
        await self._due.run(POLL_S)

    async def run_waiting(self, queue: str, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """Run the jobs of a queue that there are, at once, until there are none.

        For a queue whose jobs only the process requests that runs them: it need not be polled.

        Args:
            queue: the queue.
            name: the name of the function, as in `enqueue`.
            job: the function; it raises `retry` to be called again.
        """

        async def run(_context: dict[str, Any]) -> None:
            await job()

        function = func(cast("WorkerCoroutine", run), name=name)
        await self._run(queue, function, SOON_S)

    async def _count_due(self, queues: Sequence[str]) -> list[int]:
        now_ms = time.time_ns() // 1_000_000  # arq's scores are of this clock
        pipe = self._redis.pipeline(transaction=False)
        for queue in queues:
            pipe.zcount(queue, "-inf", now_ms)
        with translated("ZCOUNT"):
            counts: list[int] = await pipe.execute()
        return counts

    async def _run(self, queue: str, function: Function, poll_s: float) -> None:
        """Run the jobs of a queue until it is empty; while some wait, look every `poll_s`."""
        failures = 0
        while True:
            worker = self._worker(queue, function, poll_s)
            try:
                await worker.async_run()
            except Exception as error:  # noqa: BLE001 - arq gives up at whatever redis-py raises
                failures += 1
                log = _log.warning if failures == 1 else _log.debug
                log("jobs_interrupted", queue=queue, error=str(error))
            else:
                return
            finally:
                await _end(worker)
            await asyncio.sleep(pause_s(failures, self._settings.reconnect_max_s))

    def _worker(self, queue: str, function: Function, poll_s: float) -> Worker:
        return Worker(
            [function],
            queue_name=queue,
            redis_pool=self._redis,
            handle_signals=False,
            max_jobs=1,
            job_timeout=JOB_TIMEOUT_S,
            max_tries=MAX_TRIES,
            keep_result=0,  # a result that is kept blocks the next job of its id
            burst=True,
            poll_delay=poll_s,
            log_results=False,
            job_serializer=_serialize,
            job_deserializer=msgpack.unpackb,
        )


async def _end(worker: Worker) -> None:
    """Cancel what an arq worker still runs; `Worker.close` would close the shared pool."""
    tasks: Iterable[asyncio.Task[Any]] = [*worker.job_tasks.values(), *worker.tasks.values()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _serialize(job: Any) -> bytes:
    packed: bytes = msgpack.packb(job, default=repr)
    return packed
