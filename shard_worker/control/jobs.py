"""The control plane's jobs, run by arq: term statistics of whole collections, and snapshots.

Term statistics are collected by shard, summed, and spread:

    a shard has changed ► job `collect` (the shard's queue) ► job `sum` (the cluster's queue)
        ► every worker notices the new version, writes the table that its scorers read, and fits
          its indexes to it (`shard_worker.storage.length_padding`)

Jobs are durable, retried, and unique by id. What is to be done is decided by comparing what is with
what was last done (`_tick`), not by remembering an event, so that a job that is lost, refused as a
duplicate of one that is already running, or cut off with its worker is asked for again.

How far statistics lag: not at all after a load that a gateway waits for, which is counted without
jobs (`shard_worker.indexing.load_statistics`); after any other about 4 s (the shard is quiet for 1
s, sums wait for each other for 1 s, two queues are polled each second); under a trickle of writes
`worker.statistics_interval_s`; when a worker is killed with a job in its hands, at most
`JOB_AGAIN_S` longer: arq keeps such a job locked for 40 s, but by then there is one of another id.

A shard's job must be run by a worker that hosts the shard, so each shard has a queue of its own,
and each worker an arq worker for each of its queues. Of a shard's replicas one decides when it is
due (`common.state.statistics`), and any that is up to date may run it. arq's own keys
(`arq:job:…`) lie outside of the prefix; the ids in them begin with it. Snapshots are in
`shard_worker.snapshots.shard_snapshots`.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgpack
import structlog
from arq import Retry
from arq.connections import ArqRedis
from arq.worker import Function, Worker, func

from hedgerow.common.errors import RedisUnavailableError, WorkError
from hedgerow.common.redis.client import (
    RedisClient,
    close_pool,
    connection_pool,
    pause_s,
    translated,
)
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.reconcile import keep_looking
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.statistics import (
    BULK_SHARE,
    StatisticsStore,
    changes_of,
    label_of,
    replica_of,
)
from hedgerow.common.tasks import run_together
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.load_statistics import LoadStatistics
from hedgerow.shard_worker.indexing.shard_report import CollectionReport
from hedgerow.shard_worker.snapshots.shard_snapshots import Snapshots
from hedgerow.shard_worker.traces import WorkTraces

if TYPE_CHECKING:
    from arq.typing import WorkerCoroutine

JOB_TIMEOUT_S = 30
MAX_TRIES = 5
JOB_AGAIN_S = 10.0  # many times what a job takes: one that is asked for twice is done in vain
POLL_S = 1.0
SNAPSHOT_AGAIN_S = 120.0
SUM_AFTER_S = 1.0
CHECKS = 3  # of the indexes' fit to a new table, since fitting them starts merges
SERVED_S = 5.0  # how long what was read of the heartbeats is taken to hold
QUIET_S = 1.0  # a shard with nothing to apply for this time has seen the end of a bulk load

_log = structlog.get_logger()


def is_due(
    report: CollectionReport,
    collected: int | None,
    *,
    quiet_s: float,
    since_s: float,
    interval_s: float,
) -> bool:
    """Whether a shard's statistics are to be collected.

    Args:
        report: what the shard holds of the collection now.
        collected: how many changes the known statistics take account of; None when there are none.
        quiet_s: how long the shard has had nothing to apply, in s.
        since_s: how long ago they were last asked for, in s.
        interval_s: how often at most while changes come in a trickle, in s.
    """
    if collected is None:
        return report.documents > 0 and quiet_s >= QUIET_S
    num_changes = report.changes - collected
    is_bulk = num_changes > BULK_SHARE * report.documents
    return num_changes > 0 and (since_s >= interval_s or (is_bulk and quiet_s >= QUIET_S))


class Jobs:
    """Keeps the term statistics of this worker's collections current; runs its share of jobs."""

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        applier: Applier,
        indexer: IndexerClient,
        shards: tuple[int, ...],
        settings: Settings,
        snapshots: Snapshots | None = None,
        has_disk: Callable[[], bool] = lambda: True,
        traces: WorkTraces | None = None,
    ) -> None:
        """Work for `shards` through `indexer`.

        Args:
            control: Redis, for all but arq itself.
            keys: the names under which everything lies.
            applier: knows what the shards hold and when they were last written.
            indexer: collects, sums and writes the statistics.
            shards: those that this worker serves.
            settings: redis, worker.statistics_interval_s and snapshots.timeout_s count.
            snapshots: makes snapshots, as jobs; None for none.
            has_disk: whether the disk has room for the copy that a snapshot begins with.
            traces: traces the jobs.
        """
        self._keys = keys
        self._applier = applier
        self._indexer = indexer
        self._shards = shards
        self._settings = settings
        self._control = control
        self._registry = Registry(control, keys)
        self._board = StatisticsStore(control, keys)
        self._snapshots = snapshots if snapshots is not None and snapshots.is_on else None
        self._has_disk = has_disk
        self._traces = traces or WorkTraces()
        self._num_shards: int | None = None
        self._asked_at: dict[tuple[int, str], float] = {}
        self._tables: dict[str, bytes] = {}  # uid → version of the table on disk
        self._checks: dict[str, int] = {}  # uid → how often its indexes are still to be fitted
        self._woken = asyncio.Event()
        self._served: frozenset[str] = frozenset()  # replicas that live workers serve
        self._served_at = -math.inf
        self._loads = LoadStatistics(
            board=self._board,
            applier=applier,
            is_ours=self._is_ours,
            collect=self._collect_now,
            add_up=self._sum_now,
        )

    async def run(self) -> None:
        """Run until cancelled."""
        pool = connection_pool(self._settings.redis, self._settings.redis.command_timeout_s)
        redis = ArqRedis(
            pool_or_conn=pool,
            job_serializer=_serialize,
            job_deserializer=msgpack.unpackb,
            default_queue_name=self._keys.jobs,
        )
        try:
            collect = func(cast("WorkerCoroutine", self._collect), name="collect_statistics")
            add = func(cast("WorkerCoroutine", self._sum), name="sum_statistics")
            await run_together(
                *(self._serve(redis, self._queue(shard), collect) for shard in self._shards),
                self._serve(redis, self._keys.jobs, add),
                self._follow(redis),
                self._listen(),
                *self._snapshot_parts(redis),
            )
        finally:
            await close_pool(pool)

    def tables(self) -> dict[str, str]:
        """Collection uid → version (hexadecimal) of the statistics that this worker ranks by."""
        return {uid: version.hex() for uid, version in self._tables.items()}

    # Jobs

    async def _collect(self, _context: dict[str, Any], uid: str, shard: int) -> None:
        if shard in self._applier.withheld:
            raise Retry(defer=1.0)  # for another replica to take
        try:
            with self._traces.job("collect_statistics", {"hedgerow.shard": shard}):
                await self._collect_now(uid, shard)
        except (WorkError, RedisUnavailableError) as error:
            raise _again(error) from error

    async def _sum(self, _context: dict[str, Any], uid: str) -> None:
        try:
            if not await self._is_summed(uid):
                with self._traces.job("sum_statistics", {"hedgerow.uid": uid}):
                    await self._sum_now(uid)
        except (WorkError, RedisUnavailableError) as error:
            raise _again(error) from error

    async def _collect_now(self, uid: str, shard: int) -> None:
        report = self._report(shard, uid)
        if report is None or report.generation == 0:
            return  # dropped meanwhile
        state = self._applier.states[shard]
        packed = await self._indexer.statistics(shard, uid)
        if packed:
            label = label_of(state.replica_id, report.changes)
            await self._board.put_shard(uid, shard, label, packed, state.position)

    async def _is_summed(self, uid: str) -> bool:
        if self._num_shards is None:
            return False
        return (await self._board.standing([uid], self._num_shards))[uid].is_current

    async def _sum_now(self, uid: str) -> None:
        labels, parts = await self._board.shards(uid)
        if parts:
            await self._board.put_sum(uid, labels, await self._indexer.sum(parts))

    async def _make_snapshot(self, _context: dict[str, Any], shard: int, begun: int) -> None:
        if self._snapshots is None:
            return
        with self._traces.job("make_snapshot", {"hedgerow.shard": shard}, Retry):
            if not self._has_disk() or not await self._snapshots.make(shard, begun):
                raise Retry(defer=random.uniform(1.0, 3.0))  # for another replica to take

    def _snapshot_parts(self, redis: ArqRedis) -> list[Coroutine[None, None, None]]:
        """What runs for snapshots: they have queues of their own, since they take minutes."""
        if (snapshots := self._snapshots) is None:
            return []
        timeout_s = self._settings.snapshots.timeout_s + JOB_TIMEOUT_S  # ends by itself before
        job = cast("WorkerCoroutine", self._make_snapshot)
        make = func(job, name="make_snapshot", timeout=timeout_s)

        async def enqueue(shard: int, begun: int) -> None:
            # One that is lost is one that has not taken its lease. One too many does nothing, since
            # its attempt was begun.
            with translated("enqueue"):
                await redis.enqueue_job(
                    "make_snapshot",
                    shard,
                    begun,
                    _job_id=self._job_id("snapshot", shard, begun, again_s=SNAPSHOT_AGAIN_S),
                    _queue_name=self._snapshot_queue(shard),
                )

        async def serve(shard: int) -> None:
            await snapshots.wait_until_fit(shard)  # until then others are to take the jobs
            await self._serve(redis, self._snapshot_queue(shard), make)

        return [
            *map(serve, self._shards),
            snapshots.run(enqueue),
            snapshots.listen(),
        ]

    # What is to be done

    async def _follow(self, redis: ArqRedis) -> None:
        await keep_looking(
            "statistics_wait",
            partial(self._tick, redis),
            self._woken,
            self._settings.redis.reconnect_max_s,
        )

    async def _tick(self, redis: ArqRedis) -> None:
        """Compare what is with what was last done, and ask for what is missing."""
        states = dict(self._applier.states)
        uids = {report.uid for state in states.values() for report in state.collections}
        if self._num_shards is None:
            self._num_shards = await self._registry.cluster()
        await self._loads.count(self._num_shards)
        standing = await self._board.standing(sorted(uids), self._num_shards)
        now = asyncio.get_running_loop().time()
        for shard, state in states.items():
            # Not by the log's length: it keeps what a replica that is away has yet to apply.
            is_busy = shard in self._applier.busy
            quiet_s = 0.0 if is_busy else now - self._applier.applied_at.get(shard, -math.inf)
            for report in state.collections:
                key = (shard, report.uid)
                label = standing[report.uid].labels.get(shard)
                if await self._is_ours(shard, label, now) and is_due(
                    report,
                    changes_of(label, state.replica_id),
                    quiet_s=quiet_s,
                    since_s=now - self._asked_at.get(key, -math.inf),
                    interval_s=self._settings.worker.statistics_interval_s,
                ):
                    with translated("enqueue"):
                        await redis.enqueue_job(
                            "collect_statistics",
                            report.uid,
                            shard,
                            _job_id=self._job_id("collect", report.uid, shard),
                            _queue_name=self._queue(shard),
                        )
                    self._asked_at[key] = now
        for uid, one in standing.items():
            if not one.is_current:
                # Deferred, so that shards that end a load together are summed together.
                with translated("enqueue"):
                    await redis.enqueue_job(
                        "sum_statistics",
                        uid,
                        _job_id=self._job_id("sum", uid),
                        _defer_by=SUM_AFTER_S,
                    )
            if one.version and one.version != self._tables.get(uid):
                await self._write_table(uid)
            elif self._checks.get(uid):
                self._checks[uid] -= 1
                await self._balance(uid)
        await self._loads.answer(uids, self._tables, self._num_shards)
        self._asked_at = {key: at for key, at in self._asked_at.items() if key[1] in uids}
        for uid in self._tables.keys() - uids:
            await self._indexer.remove_table(uid)
            del self._tables[uid]
            self._checks.pop(uid, None)

    async def _is_ours(self, shard: int, label: str | None, now: float) -> bool:
        """Whether this replica has a shard's statistics to see to, and no other that is served."""
        replica = replica_of(label)
        if shard in self._applier.withheld:
            return False
        if replica in (None, self._applier.states[shard].replica_id):
            return True
        if now - self._served_at >= SERVED_S:
            expiry_s = self._settings.worker.heartbeat_expiry_s
            self._served = frozenset(
                heartbeat.replicas[shard]
                for heartbeat in (await self._registry.live_heartbeats(expiry_s)).values()
                for shard in heartbeat.shards
                if shard in heartbeat.replicas
            )
            self._served_at = now
        return replica not in self._served

    async def _write_table(self, uid: str) -> None:
        version, statistics = await self._board.sum_of(uid)
        if statistics:
            await self._indexer.write_table(uid, statistics)
            await self._balance(uid)
            self._checks[uid] = CHECKS
            self._tables[uid] = version
            _log.debug("statistics_written", uid=uid, bytes=len(statistics))

    async def _balance(self, uid: str) -> None:
        for shard, state in list(self._applier.states.items()):
            if any(report.uid == uid for report in state.collections):
                await self._applier.balance(shard, uid)

    async def _listen(self) -> None:
        async for event in self._control.events(self._keys.events):
            if event in (b"statistics", b"reconnected") or self._loads.take(event):
                self._woken.set()
            elif event == b"workers":
                self._served_at = -math.inf

    # arq

    async def _serve(self, redis: ArqRedis, queue: str, function: Function) -> None:
        failures = 0
        while True:
            worker = Worker(
                [function],
                queue_name=queue,
                redis_pool=redis,
                handle_signals=False,
                max_jobs=1,
                job_timeout=JOB_TIMEOUT_S,
                max_tries=MAX_TRIES,
                keep_result=0,  # a result that is kept blocks the next job of its id
                poll_delay=POLL_S,
                log_results=False,
                job_serializer=_serialize,
                job_deserializer=msgpack.unpackb,
            )
            try:
                await worker.async_run()
            except Exception as error:  # noqa: BLE001 - arq gives up at whatever redis-py raises
                failures += 1
                tell = _log.warning if failures == 1 else _log.debug
                tell("jobs_interrupted", queue=queue, error=str(error))
            finally:
                await _end(worker)
            await asyncio.sleep(pause_s(failures, self._settings.redis.reconnect_max_s))

    def _job_id(self, *what: object, again_s: float = JOB_AGAIN_S) -> str:
        """The same for who asks for the same, but for `again_s` at most.

        arq refuses a job while there is one of its id, and keeps one locked whose worker was killed
        with it in its hands.
        """
        return ":".join(map(str, (self._keys.prefix, *what, int(time.time() / again_s))))

    def _queue(self, shard: int) -> str:
        return f"{self._keys.jobs}:{shard}"

    def _snapshot_queue(self, shard: int) -> str:
        return f"{self._queue(shard)}:snapshots"

    def _report(self, shard: int, uid: str) -> CollectionReport | None:
        for report in self._applier.states[shard].collections:
            if report.uid == uid:
                return report
        return None


async def _end(worker: Worker) -> None:
    """Cancel what an arq worker still runs; `Worker.close` would close the shared pool."""
    tasks: Iterable[asyncio.Task[Any]] = [*worker.job_tasks.values(), *worker.tasks.values()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _again(error: Exception) -> Retry:
    _log.debug("job_again", error=str(error))
    return Retry(defer=random.uniform(1.0, 3.0))


def _serialize(job: Any) -> bytes:
    packed: bytes = msgpack.packb(job, default=repr)
    return packed
