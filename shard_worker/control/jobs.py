"""The control plane's jobs: term statistics of whole collections, and snapshots.

Term statistics are collected by shard, summed, and spread:

    a shard has changed ► job `collect` (the shard's queue) ► job `sum` (the cluster's queue)
        ► every worker notices the new version, writes the table that its scorers read, and fits
          its indexes to it (`shard_worker.storage.length_padding`)

What to do is decided by comparing the current state with what was last done (`_tick`), not by
remembering an event. So a job that is lost, refused as a duplicate of a running one, or cut off
with its worker is requested again.

How far statistics lag behind:
- after a load that a gateway waits for, not at all: it is counted without jobs
  (`shard_worker.indexing.load_statistics`);
- after any other load, about 4 s: the shard must be quiet for 1 s, sums wait for each other for
  1 s, and two queues are polled each second;
- during a trickle of writes, `worker.statistics_interval_s`;
- if a worker is killed during a job, at most `queues.JOB_AGAIN_S` longer: arq keeps the job locked
  for 40 s, but by then another with a different id is requested.

A shard's job must run in a worker that serves the shard, so each shard has a queue of its own, and
each worker serves the queues of its shards. One replica of a shard decides when the job is due
(`common.state.statistics`), and any that is up to date may run it. Snapshots are in
`shard_worker.snapshots.shard_snapshots`.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping
from functools import partial

import structlog

from hedgerow.common.errors import RedisUnavailableError, WorkError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.reconcile import reconcile
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.batched import batched
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.statistics import (
    BULK_SHARE,
    StatisticsStatus,
    StatisticsStore,
    changes_of,
    label_of,
    replica_of,
)
from hedgerow.common.tasks import KeyedTasks, run_together
from hedgerow.shard_worker.control.queues import JOB_TIMEOUT_S, JobQueues, retry
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.load_statistics import LoadStatistics
from hedgerow.shard_worker.indexing.shard_report import CollectionReport, ShardState
from hedgerow.shard_worker.indexing.work_traces import WorkTraces
from hedgerow.shard_worker.snapshots.shard_snapshots import Snapshots

SNAPSHOT_AGAIN_S = 120.0
SUM_AFTER_S = 1.0
CHECKS = 3  # times that indexes are fitted to a new table, since fitting starts merges
SERVED_S = 5.0  # how long the heartbeats that were read last count as current
# Of what is compared in one turn of the event loop, which takes 1 or 2 ms of CPU.
_LOOKED_AT_ONCE = 500
_LABELS_AT_ONCE = 3000
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
    """Whether a shard's statistics should be collected.

    Args:
        report: what the shard holds of the collection now.
        collected: how many changes the known statistics count; None if there are none.
        quiet_s: how long the shard has had nothing to apply, in s.
        since_s: how long ago they were last requested, in s.
        interval_s: shortest time between two requests during a trickle of changes, in s.
    """
    if collected is None:
        return report.documents > 0 and quiet_s >= QUIET_S
    num_changes = report.changes - collected
    is_bulk = num_changes > BULK_SHARE * report.documents
    return num_changes > 0 and (since_s >= interval_s or (is_bulk and quiet_s >= QUIET_S))


class Jobs:
    """Keeps the term statistics of this worker's collections current; runs its share of jobs.

    Attributes:
        only_asked: whether statistics are collected only for loads whose end is announced. They are
            those of all shards: after each of many small loads, they would cost more than the load.
    """

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        applier: Applier,
        indexer: IndexerClient,
        settings: Settings,
        snapshots: Snapshots | None = None,
        has_disk: Callable[[], bool] = lambda: True,
        traces: WorkTraces | None = None,
    ) -> None:
        """Work for the shards of `applier`, through `indexer`.

        Args:
            control: Redis, for everything but the queues.
            keys: the names of everything in Redis.
            applier: knows what the shards hold and when they were last written.
            indexer: collects, sums and writes the statistics.
            settings: redis, worker.statistics_interval_s and snapshots.timeout_s apply.
            snapshots: makes snapshots, as jobs; None if none are made.
            has_disk: whether the disk has room for the copy that a snapshot begins with.
            traces: traces the jobs.
        """
        self._keys = keys
        self._applier = applier
        self._indexer = indexer
        self._settings = settings
        self._control = control
        self._registry = Registry(control, keys)
        self._store = StatisticsStore(control, keys)
        self._snapshots = snapshots if snapshots is not None and snapshots.is_on else None
        self._has_disk = has_disk
        self._traces = traces or WorkTraces()
        self._queues: asyncio.Future[JobQueues] = asyncio.get_running_loop().create_future()
        self._serving = KeyedTasks[int]()
        self._num_shards: int | None = None
        self._asked_at: dict[tuple[int, str], float] = {}
        self._tables: dict[str, bytes] = {}  # uid → version of the table on disk
        self._checks: dict[str, int] = {}  # uid → how often its indexes must still be fitted
        self._woken = asyncio.Event()
        self.only_asked = False
        self._served: frozenset[str] = frozenset()  # replicas that live workers serve
        self._served_at = -math.inf
        self._loads = LoadStatistics(
            store=self._store,
            applier=applier,
            is_ours=self._is_ours,
            collect=self._collect_now,
            add_up=self._sum_now,
        )

    async def run(self) -> None:
        """Run until cancelled, with the jobs of the shards that `serve` names."""
        connected = JobQueues.connect(self._keys, self._control.settings, self._control.primary)
        async with connected as queues:
            self._queues.set_result(queues)
            await run_together(
                queues.watch(),
                queues.serve(self._keys.jobs, "sum_statistics", self._sum),
                self._follow(queues),
                self._listen(),
                *self._snapshot_parts(queues),
                self._serving.run(),
            )

    def serve(self, shard: int) -> None:
        """Run the jobs of an open shard, too."""
        self._serving.start(shard, self._serve(shard), name=f"jobs of shard {shard}")

    async def leave(self, shard: int) -> None:
        """Run the jobs of a shard no longer; the one that runs is cancelled."""
        await self._serving.end(shard)

    async def _serve(self, shard: int) -> None:
        queues = await asyncio.shield(self._queues)
        parts = [queues.serve(self._queue(shard), "collect_statistics", self._collect)]
        if self._snapshots is not None:
            parts.append(self._serve_snapshots(shard, queues, self._snapshots))
        await run_together(*parts)

    async def prepare(self, shard: int) -> None:
        """Fit an open shard to the newest term statistics, before it is searched.

        Raises:
            WorkError: the indexer has failed.
            RedisUnavailableError: there was no answer.
        """
        uids = sorted(report.uid for report in self._applier.states[shard].collections)
        if self._num_shards is None:
            self._num_shards = await self._registry.cluster()
        for uid, one in (await self._store.status(uids, self._num_shards)).items():
            if one.version and one.version != self._tables.get(uid):
                await self._write_table(uid)
            elif one.version:
                await self._applier.balance(shard, uid)
                self._checks[uid] = CHECKS

    def tables(self) -> dict[str, str]:
        """Collection uid → version (hexadecimal) of the statistics that this worker ranks by."""
        return {uid: version.hex() for uid, version in self._tables.items()}

    # Jobs

    async def _collect(self, uid: str, shard: int) -> None:
        if shard in self._applier.withheld:
            raise retry(1.0)  # so that another replica takes it
        try:
            with self._traces.job("collect_statistics", {"hedgerow.shard": shard}):
                await self._collect_now(uid, shard)
        except (WorkError, RedisUnavailableError) as error:
            raise _again(error) from error

    async def _sum(self, uid: str) -> None:
        try:
            if not await self._is_summed(uid):
                with self._traces.job("sum_statistics", {"hedgerow.uid": uid}):
                    await self._sum_now(uid)
        except (WorkError, RedisUnavailableError) as error:
            raise _again(error) from error

    async def _collect_now(self, uid: str, shard: int) -> None:
        state, report = self._applier.states.get(shard), self._report(shard, uid)
        if state is None or report is None or report.generation == 0:
            return  # dropped meanwhile, or another worker's now
        packed = await self._indexer.statistics(shard, uid)
        if packed:
            label = label_of(state.replica_id, report.changes)
            await self._store.put_shard(uid, shard, label, packed, state.position)

    async def _is_summed(self, uid: str) -> bool:
        if self._num_shards is None:
            return False
        return (await self._store.status([uid], self._num_shards))[uid].is_current

    async def _sum_now(self, uid: str) -> None:
        labels, parts = await self._store.shards(uid)
        if parts:
            summed = await self._indexer.sum(parts)
            if await self._is_summed(uid):
                return  # another worker was faster, perhaps with newer statistics
            await self._store.put_sum(uid, labels, summed.statistics, summed.words)

    async def _make_snapshot(self, shard: int, begun: int) -> None:
        if self._snapshots is None:
            return
        with self._traces.job("make_snapshot", {"hedgerow.shard": shard}):
            is_made = self._has_disk() and await self._snapshots.make(shard, begun)
        if not is_made:
            raise retry()  # so that another replica takes it

    def _snapshot_parts(self, queues: JobQueues) -> list[Coroutine[None, None, None]]:
        """The coroutines that request snapshots, and wait for requests."""
        if (snapshots := self._snapshots) is None:
            return []

        async def enqueue(shard: int, begun: int) -> None:
            # A job that was lost has not taken the lease, and is requested again; a job too many
            # does nothing, since its attempt was begun.
            await queues.enqueue(
                self._snapshot_queue(shard),
                "make_snapshot",
                shard,
                begun,
                job_id=f"snapshot:{shard}:{begun}",
                again_s=SNAPSHOT_AGAIN_S,
            )

        return [snapshots.run(enqueue), snapshots.listen()]

    async def _serve_snapshots(self, shard: int, queues: JobQueues, snapshots: Snapshots) -> None:
        """Run the jobs that make snapshots; their queue is another, since they take minutes."""
        await snapshots.wait_until_fit(shard)  # until then, others must take the jobs
        begun = await snapshots.attempts_at_first(shard)
        if begun is not None and self._has_disk():
            with self._traces.job("make_snapshot", {"hedgerow.shard": shard}):
                await snapshots.make(shard, begun)
        timeout_s = self._settings.snapshots.timeout_s + JOB_TIMEOUT_S  # it ends by itself before
        queue = self._snapshot_queue(shard)
        await queues.serve(queue, "make_snapshot", self._make_snapshot, timeout_s)

    # What to do

    async def _follow(self, queues: JobQueues) -> None:
        await reconcile(
            "statistics_wait",
            partial(self._tick, queues),
            self._woken,
            self._settings.redis.reconnect_max_s,
        )

    async def _tick(self, queues: JobQueues) -> None:
        """Compare the current state with what was last done, and request what is missing."""
        states = dict(self._applier.states)
        uids = {report.uid for state in states.values() for report in state.collections}
        if self._num_shards is None:
            self._num_shards = await self._registry.cluster()
        await self._loads.count(self._num_shards)
        status = await self._store.status(sorted(uids), self._num_shards)
        if not self.only_asked:
            await self._request(queues, states, status)
        for uid, one in status.items():
            if one.version and one.version != self._tables.get(uid):
                await self._write_table(uid)
            elif self._checks.get(uid):
                self._checks[uid] -= 1
                await self._balance(uid)
        await self._loads.answer(uids, self._tables, self._num_shards)
        self._asked_at = {
            key: at
            for key, at in self._asked_at.items()
            if key[1] in uids and key[0] in self._applier.states
        }
        for uid in self._tables.keys() - uids:
            await self._indexer.remove_table(uid)
            del self._tables[uid]
            self._checks.pop(uid, None)

    async def _request(
        self,
        queues: JobQueues,
        states: Mapping[int, ShardState],
        status: Mapping[str, StatisticsStatus],
    ) -> None:
        """Request the jobs that statistics need to be current."""
        for shard, state in states.items():
            for some in batched(state.collections, _LOOKED_AT_ONCE):
                await asyncio.sleep(0)
                for report in some:
                    label = status[report.uid].labels.get(shard)
                    if changes_of(label, state.replica_id) != report.changes:
                        await self._request_collection(queues, state, report, label)
        for few in batched(status.items(), max(1, _LABELS_AT_ONCE // (self._num_shards or 1))):
            await asyncio.sleep(0)
            for uid in (uid for uid, one in few if not one.is_current):
                # Deferred, so that shards that end a load at about the same time are summed once.
                await queues.enqueue(
                    self._keys.jobs,
                    "sum_statistics",
                    uid,
                    job_id=f"sum:{uid}",
                    defer_s=SUM_AFTER_S,
                )

    async def _request_collection(
        self, queues: JobQueues, state: ShardState, report: CollectionReport, label: str | None
    ) -> None:
        """Request the statistics of one collection in one shard, if they are due."""
        shard, uid, now = state.shard, report.uid, asyncio.get_running_loop().time()
        # Not by the log's length: it also keeps entries for replicas that are away.
        is_busy = shard in self._applier.busy
        quiet_s = 0.0 if is_busy else now - self._applier.applied_at.get(shard, -math.inf)
        if await self._is_ours(shard, label, now) and is_due(
            report,
            changes_of(label, state.replica_id),
            quiet_s=quiet_s,
            since_s=now - self._asked_at.get((shard, uid), -math.inf),
            interval_s=self._settings.worker.statistics_interval_s,
        ):
            await queues.enqueue(
                self._queue(shard),
                "collect_statistics",
                uid,
                shard,
                job_id=f"collect:{uid}:{shard}",
            )
            self._asked_at[shard, uid] = now

    async def _is_ours(self, shard: int, label: str | None, now: float) -> bool:
        """Whether this replica, and no other that is served, decides about a shard's statistics."""
        replica, state = replica_of(label), self._applier.states.get(shard)
        if state is None or shard in self._applier.withheld:
            return False
        if replica in (None, state.replica_id):
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
        version, statistics = await self._store.sum_of(uid)
        if statistics:
            await self._indexer.write_table(uid, statistics)
            await self._balance(uid)
            self._checks[uid] = CHECKS
            self._tables[uid] = version
            _log.debug("statistics_written", uid=uid, bytes=len(statistics))

    async def _balance(self, uid: str) -> None:
        # Whenever a shard has moved, all workers get a new sum at once, which is often the same as
        # before. Then one command finds that no index is to be fitted.
        shards = [one for one in self._applier.states if self._report(one, uid) is not None]
        for shard in await self._indexer.unbalanced(uid, shards):
            if self._report(shard, uid) is not None:  # else this worker has let go of it meanwhile
                await self._applier.balance(shard, uid)

    async def _listen(self) -> None:
        async for event in self._control.events(self._keys.events):
            if event in (b"statistics", b"reconnected") or self._loads.take(event):
                self._woken.set()
            elif event == b"workers":
                self._served_at = -math.inf

    def _queue(self, shard: int) -> str:
        return f"{self._keys.jobs}:{shard}"

    def _snapshot_queue(self, shard: int) -> str:
        return f"{self._queue(shard)}:snapshots"

    def _report(self, shard: int, uid: str) -> CollectionReport | None:
        state = self._applier.states.get(shard)
        for report in state.collections if state is not None else ():
            if report.uid == uid:
                return report
        return None


def _again(error: Exception) -> Exception:
    _log.debug("job_again", error=str(error))
    return retry()
