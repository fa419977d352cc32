"""One shard worker: starts its parts, serves until stopped, and stops them in order."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog

from hedgerow.common.errors import ConfigurationError, SnapshotError, WorkError, WriteRefusedError
from hedgerow.common.machine.freed_memory import return_memory_after_growth
from hedgerow.common.machine.memory_room import has_memory, memory_rooms
from hedgerow.common.observability.telemetry import LagWatch, Throttle
from hedgerow.common.observability.tracing import tracing_of
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.quarantine import Quarantine
from hedgerow.common.state.quarantine_store import QuarantineStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.reloading import ReloadStore
from hedgerow.common.tasks import end
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.context import Context
from hedgerow.shard_worker.control.placing import Placing
from hedgerow.shard_worker.executors.process_pool.forkserver_start import Start, start_interpreter
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.placement.follower import PlacementFollower
from hedgerow.shard_worker.placement.held_shards import HeldShards
from hedgerow.shard_worker.reloading import Reloading, Ways
from hedgerow.shard_worker.reporting.worker_report import WorkerReport
from hedgerow.shard_worker.scoring.ranking import enrich_hooks
from hedgerow.shard_worker.serving.answering import Answering
from hedgerow.shard_worker.serving.consumer import OWN_QUEUE
from hedgerow.shard_worker.serving.health_file import HealthFile
from hedgerow.shard_worker.serving.heartbeat_sender import HeartbeatSender
from hedgerow.shard_worker.serving.probation import ProbationWatch
from hedgerow.shard_worker.serving.quarantine_exchange import QuarantineExchange
from hedgerow.shard_worker.serving.served_profiles import ProfileSet, ServedProfiles
from hedgerow.shard_worker.serving.shard_state import ShardStates
from hedgerow.shard_worker.serving.shard_stores import ShardStores
from hedgerow.shard_worker.serving.warming import Warming
from hedgerow.shard_worker.serving.work_accounting import WorkAccounting
from hedgerow.shard_worker.splitting.clone_leases import CloneLeases
from hedgerow.shard_worker.splitting.cloner import OldShards, ShardCloner
from hedgerow.shard_worker.splitting.copy_pace import CopyPace
from hedgerow.shard_worker.wiring import (
    WORKER_SERVICE,
    enrich_bulkhead,
    fetch_lanes,
    indexer_lane,
    scorer_lane,
)
from hedgerow.shard_worker.writing import Writing

log = structlog.get_logger()

OPEN_AGAIN_S = 2.0
# Of `worker.heartbeat_expiry_s`: how long a worker knows that it counts as live. The rest is for
# the error of its estimate of the server's clock, by which heartbeats expire.
SURE_SHARE = 0.9


class Worker:
    """Serves some of the cluster's shards until stopped."""

    def __init__(
        self,
        context: Context,
        shards: tuple[int, ...] | None,
        import_path: tuple[str, ...],
        start_forkserver: Start,
        read_settings: Callable[[], Settings] | None = None,
    ) -> None:
        """Wire the parts; `run` starts them.

        Args:
            context: the worker, and the cluster that it is a member of.
            shards: which shards it serves; None for those that the placement assigns to it.
            import_path: folders in which users' functions are searched for.
            start_forkserver: starts the forkservers of the process lanes.
            read_settings: reads them again, for a reload; None if there is nothing to read.

        Raises:
            ConfigurationError: a rank profile names a function that cannot be used.
        """
        settings, keys = context.settings, context.keys
        self.id = context.worker_id
        self._context = context
        self._shards = shards or ()
        self._lag = LagWatch(settings.worker.loop_lag_threshold_ms)
        self._states = ShardStates()
        self._stores = ShardStores(settings.data)
        self._accounting = WorkAccounting()
        quarantine = Quarantine(
            settings.worker.quarantine_after, settings.worker.quarantine_expiry_s
        )
        gate = QuarantineGate(
            quarantine, self._server_ms, self.id, lambda: has_memory(memory_rooms())
        )
        self._quarantine = QuarantineExchange(
            context.control,
            keys.events,
            QuarantineStore(context.control, keys, quarantine.retention_ms),
            gate,
        )
        profiles = settings.rank_profiles
        self._served = ServedProfiles(
            ProfileSet(
                profiles,
                scorer_lane(settings, import_path, gate, start_forkserver, worker_id=self.id),
                enrich_hooks(profiles),
            )
        )
        self._indexer = indexer_lane(settings, start_forkserver, import_path)
        bulkhead = enrich_bulkhead(settings)
        self._fetch_lanes = fetch_lanes(settings, self._accounting, bulkhead)
        self._reloading = Reloading(
            context,
            ReloadStore(context.control, keys),
            self._served,
            Ways(
                read=read_settings or (lambda: settings),
                make_scorers=lambda new: scorer_lane(
                    new, import_path, gate, start_forkserver, worker_id=self.id
                ),
                import_path=import_path,
                threads=self._fetch_lanes.enriching,
                bulkhead=bulkhead,
            ),
        )
        self._longest_silence_s = SURE_SHARE * settings.worker.heartbeat_expiry_s
        self._heartbeats = HeartbeatSender(
            Registry(context.control, keys),
            self.heartbeat,
            settings.worker.heartbeat_interval_s,
            self._longest_silence_s,
            on_silence=self._doubt,
            on_arrival=HealthFile(settings.worker.health_file, settings.worker.heartbeat_expiry_s),
        )
        self._writing = Writing(
            context,
            self._indexer,
            on_state=self._states.take,
            on_withheld=self._withhold,
            beat_soon=self._heartbeats.beat_soon,
            beat=self._heartbeats.beat_and_wait,
            until_heard=self._heartbeats.until_arrived,
        )
        self._answering = Answering(
            context,
            self._served,
            self._fetch_lanes,
            self._states,
            self._stores,
            self._accounting,
            self._is_current,
        )
        self._warming = Warming(self._served, self._states)
        self._held = HeldShards(
            self._writing,
            self._answering,
            self._states,
            self._stores,
            warm=self._warming.warm,
            on_change=self._withhold,
        )
        self._old: OldShards | None = None
        self._placement = None
        if shards is None:
            self._placement = PlacementFollower(context, self._held, self._heartbeats.beat_soon)
        self._probation = ProbationWatch(
            context.control,
            keys,
            self.id,
            shards=lambda: self._held.shards,
            server_ms=context.server_ms,
            interval_s=settings.worker.heartbeat_interval_s,
            expiry_s=settings.worker.heartbeat_expiry_s,
            on_change=self._withhold,
        )
        self._report = WorkerReport(
            context,
            self._served,
            self._indexer,
            self._fetch_lanes,
            self._states,
            self._accounting,
            self._writing,
            self._answering,
            self._held,
            self._probation,
            self._placement,
            self._lag,
        )

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        settings: Settings,
        worker_id: str,
        shards: tuple[int, ...] | None,
        import_path: tuple[str, ...],
        num_shards: int | None,
        start_forkserver: Start = start_interpreter,
        read_settings: Callable[[], Settings] | None = None,
        layout: int = 0,
    ) -> "AsyncIterator[Worker]":
        """Make a worker of the cluster that the settings name, for the shards of one layout.

        Raises:
            ConfigurationError: the cluster lacks a shard, or a profile cannot be used.
            RedisUnavailableError: there is no server.
        """
        control, keys = await connect(settings.redis), Keys.of(settings.redis).of_layout(layout)
        try:
            cluster = await Registry(control, keys).cluster(num_shards)
            if outside := [shard for shard in shards or () if shard >= cluster]:
                raise ConfigurationError(
                    f"--shards: {outside[0]} is not one of the cluster's 0 to {cluster - 1}"
                )
            tracing = tracing_of(settings.tracing, WORKER_SERVICE, worker_id)
            context = Context(settings, worker_id, cluster, control, keys, tracing)
            yield cls(context, shards, import_path, start_forkserver, read_settings)
        finally:
            await control.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain."""
        async with AsyncExitStack() as started:
            if (tracing := self._context.tracing) is not None:
                tracing.start()
                started.push_async_callback(asyncio.to_thread, tracing.close)
            await self._answering.start(started)
            # A failover may have lost the last heartbeats.
            started.callback(self._context.control.primary.follow(self._heartbeats.beat_soon))
            for threads in self._fetch_lanes:
                started.push_async_callback(threads.close, 0.0)
            started.push_async_callback(self._writing.snapshots.threads.close, 0.0)
            for lane in (self._served, self._indexer):
                await lane.start()
                started.push_async_callback(lane.close, 0.0)
            started.callback(self._stores.close_all)
            # Before any request, since it is unknown what the shards hold until they are open.
            if not await self._open_when_possible(stop):
                return
            await self._quarantine.catch_up()
            if self._placement is not None:
                await self._placement.prepare()
            async with asyncio.TaskGroup() as group:
                heartbeat = group.create_task(self._heartbeats.run(), name="heartbeat")
                holding = group.create_task(self._held.run(), name="shards")
                writers = [
                    group.create_task(part, name=name)
                    for name, part in self._writing.parts().items()
                ]
                watchers = [
                    group.create_task(self._lag.run(), name="loop lag"),
                    group.create_task(self._probation.run(), name="probation"),
                    group.create_task(self._answering.keep_clock(), name="clock"),
                    group.create_task(self._quarantine.run(), name="quarantine"),
                    group.create_task(self._reloading.run(), name="reloading"),
                    group.create_task(self._writing.storage.run(), name="storage"),
                    group.create_task(return_memory_after_growth(), name="memory"),
                ]
                group.create_task(self._answering.serve(), name="answering")
                for shard in self._held.shards:
                    self._held.serve(shard)
                following = []
                if self._placement is not None:
                    following.append(group.create_task(self._placement.run(), name="placement"))
                    policy = Placing(self._context, self._old.workers if self._old else None)
                    watchers.append(group.create_task(policy.run(), name="placement policy"))
                log.info("ready", worker=self.id, shards=list(self._held.shards), pid=os.getpid())
                await stop.wait()
                await self._drain(heartbeat, [*following, holding], writers, watchers)
        log.info("stopped", worker=self.id)

    def count_only_when_asked(self, *, only_asked: bool) -> None:
        """Whether term statistics wait until the end of a load is announced."""
        self._writing.jobs.only_asked = only_asked

    def clone_from(self, old: OldShards, pace: CopyPace) -> None:
        """Make shards of the old ones that a split divides, where that is possible.

        To be called before `run`.

        Args:
            old: the old shards that this process serves.
            pace: of the copies and clones of this process.
        """
        context, self._old, leases = self._context, old, None
        if self._writing.snapshots.is_on:
            leases = CloneLeases(context.control, context.keys, self.id)
        self._writing.cloner = self._report.cloner = ShardCloner(
            ShardLog(context.control, context.keys),
            self._writing.indexer,
            context.settings.data,
            context.num_shards,
            old,
            pace,
            leases,
        )

    async def _open_when_possible(self, stop: asyncio.Event) -> bool:
        """Open the shards; wait while a shortage of disk, Redis or system prevents it.

        Exiting would not help: the supervisor would start a worker that exits again.

        Returns:
            False if `stop` was set first.
        """
        throttle, storage = Throttle(60.0), self._writing.storage
        await storage.look()
        while not stop.is_set():
            try:
                for shard in self._shards:
                    await self._held.open(shard)
            except (WriteRefusedError, WorkError, SnapshotError, OSError) as error:
                if not (isinstance(error, WriteRefusedError) or storage.note(error)):
                    raise
                if throttle.allows("open", time.monotonic()):
                    log.warning("start_waits", worker=self.id, error=str(error))
            else:
                return True
            with suppress(TimeoutError):
                async with asyncio.timeout(OPEN_AGAIN_S):
                    await stop.wait()
        return False

    async def _drain(
        self,
        heartbeat: asyncio.Task[None],
        holding: list[asyncio.Task[None]],
        writers: list[asyncio.Task[None]],
        watchers: list[asyncio.Task[None]],
    ) -> None:
        """Stop in the order in which the parts need each other."""
        drain_s = self._context.settings.worker.drain_timeout_s
        log.info("draining", worker=self.id)
        # 1. Gateways stop sending requests, and nothing more is pulled: what waits in Redis is for
        #    other replicas. The heartbeats end before the entry is removed, or it would return.
        await end([heartbeat], drain_s)
        await self._heartbeats.leave(self.id)
        await self._answering.stop_pulling()
        # 2. Requests that were pulled are answered; this needs the lanes and the connection for
        #    replies.
        await asyncio.gather(self._served.close(drain_s), self._answering.finish_fetches(drain_s))
        # 3. Writing stops. A batch that is cut short is applied again at the next start, since its
        #    position is recorded last.
        for task in holding:
            await end([task], drain_s)
        await end(writers, drain_s)
        await self._indexer.close(drain_s)
        # 4. Stores, threads and connections are closed last, by the exit stack of `run`, since all
        #    of the above needs them. A thread that hangs does not delay the exit.
        await end(watchers, drain_s)

    def applied(self, shard: int) -> str | None:
        """Up to which entry of its log a shard is applied; None if it is not served here."""
        progress = self._writing.applier.progress()
        return progress["applied"].get(shard) if shard in progress["shards"] else None

    @property
    def served(self) -> list[int]:
        """The shards that it serves: it has all of them, and answers searches of them."""
        served: list[int] = self._writing.applier.progress()["shards"]
        return served

    @property
    def num_waiting(self) -> int:
        """How many searches wait here for a scorer."""
        waiting: int = self._served.load()["waiting"]
        return waiting

    def _withhold(self) -> None:
        """Leave shards to other replicas: incomplete ones, and all if this worker is too slow."""
        unfit = self._writing.applier.withheld
        withheld = unfit | self._probation.leaves
        # On probation, it still pulls from its own queue, which brings shadow requests.
        if unfit >= set(self._held.shards):
            withheld |= {OWN_QUEUE}
        self._answering.withhold(withheld)
        self._heartbeats.beat_soon()  # gateways send requests once they have read it

    def _is_current(self) -> bool:
        """Whether callers that wait for a write are sure to have waited for this worker.

        If its heartbeats may have expired meanwhile, all shards are withheld until a heartbeat has
        arrived and, after that, the shards have been found to have what the other replicas have.
        """
        silent_s = asyncio.get_running_loop().time() - self._heartbeats.arrived_at
        if silent_s >= self._longest_silence_s:
            self._doubt()
        applier = self._writing.applier
        return not (applier.unsure and applier.unsure.issuperset(applier.states))

    def _doubt(self) -> None:
        if not self._writing.applier.unsure:
            log.info("replicas_unsure", worker=self.id, shards=list(self._held.shards))
        self._writing.applier.doubt()

    def _server_ms(self, at: float) -> int:
        return self._context.clock.server_us(at) // 1000

    def heartbeat(self) -> Heartbeat:
        """What the worker reports about itself now."""
        return self._report.heartbeat()
