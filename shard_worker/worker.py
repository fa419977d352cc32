"""One shard worker: starts its parts, serves until told to stop, and stops them in order."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog

from hedgerow.common import __version__
from hedgerow.common.errors import ConfigurationError, SnapshotError, WorkError, WriteRefusedError
from hedgerow.common.observability.telemetry import Counters, LagWatch, Throttle
from hedgerow.common.redis.client import RedisClient, connect
from hedgerow.common.redis.connection import Handshake, RedisConnection
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.server_clock import ServerClock, keep_clock, read_clock
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.quarantine import Quarantine
from hedgerow.common.state.quarantine_store import QuarantineStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import end
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.shard_worker.control.jobs import Jobs
from hedgerow.shard_worker.executors.process_pool.forkserver_start import Start, start_interpreter
from hedgerow.shard_worker.executors.process_pool.quarantine_gate import QuarantineGate
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.optimiser import Optimiser
from hedgerow.shard_worker.indexing.storage_watch import StorageWatch
from hedgerow.shard_worker.scoring.ranking import enrich_hooks
from hedgerow.shard_worker.serving.cancel_listener import CancelListener
from hedgerow.shard_worker.serving.consumer import OWN_QUEUE, Consumer
from hedgerow.shard_worker.serving.fetch import FetchService
from hedgerow.shard_worker.serving.forwarding import Forwarding, GiveBack
from hedgerow.shard_worker.serving.heartbeat_sender import HeartbeatSender
from hedgerow.shard_worker.serving.in_flight import InFlight
from hedgerow.shard_worker.serving.probation import ProbationWatch
from hedgerow.shard_worker.serving.quarantine_exchange import QuarantineExchange
from hedgerow.shard_worker.serving.replier import Replier
from hedgerow.shard_worker.serving.search import SearchService
from hedgerow.shard_worker.serving.shard_state import ShardStates
from hedgerow.shard_worker.serving.shard_stores import ShardStores
from hedgerow.shard_worker.serving.work_accounting import WorkAccounting
from hedgerow.shard_worker.snapshots.recovery import lost_shards, restore_shards, revive_definitions
from hedgerow.shard_worker.snapshots.shard_snapshots import Snapshots
from hedgerow.shard_worker.wiring import fetch_lanes, indexer_lane, scorer_lane

log = structlog.get_logger()

START_TIMEOUT_S = 30.0
OPEN_AGAIN_S = 2.0


class Worker:
    """Serves some of the cluster's shards until told to stop."""

    def __init__(
        self,
        settings: Settings,
        worker_id: str,
        shards: tuple[int, ...],
        import_path: tuple[str, ...],
        control: RedisClient,
        num_shards: int,
        start_launcher: Start,
    ) -> None:
        """Wire the parts; `run` starts them.

        Args:
            settings: all settings.
            worker_id: this worker's name in the cluster.
            shards: which shards it serves.
            import_path: folders in which users' functions are looked for.
            control: the connection for all that is not on the hot path.
            num_shards: shards in the cluster.
            start_launcher: starts the processes that fork those of the lanes.

        Raises:
            ConfigurationError: a rank profile names a function that cannot be used.
        """
        keys, tuning = Keys(settings.redis.key_prefix), settings.worker
        self.id = worker_id
        self._settings = settings
        self._shards = shards
        self._num_shards = num_shards
        self._log = ShardLog(control, keys)
        self._registry = Registry(control, keys)
        self._clock = ServerClock()
        self._counters = Counters()
        self._lag = LagWatch(tuning.loop_lag_threshold_ms)
        self._states = ShardStates(shards)
        self._stores = ShardStores(settings.data, shards)
        self._started = time.monotonic()
        quarantine = Quarantine(tuning.quarantine_after, tuning.quarantine_expiry_s)
        suspects = QuarantineGate(quarantine, self._server_ms, worker_id)
        self._scorers = scorer_lane(settings, shards, import_path, suspects, start_launcher)
        board = QuarantineStore(control, keys, quarantine.retention_ms)
        self._quarantine = QuarantineExchange(control, keys.events, board, suspects)
        self._indexer = indexer_lane(settings, shards, start_launcher)
        self._ledger = WorkAccounting()
        self._fetch_lanes = fetch_lanes(settings, self._ledger)
        self._storage = StorageWatch(
            settings.data,
            settings.storage,
            now_ms=lambda: self._server_ms(time.monotonic()),
            on_change=self._on_shortage,
            owed_bytes=self._owed_bytes,
        )
        indexer = IndexerClient(self._indexer)
        self._applier = Applier(
            control,
            keys,
            self._registry,
            indexer,
            shards,
            settings,
            on_state=self._states.take,
            counters=self._counters,
            on_withheld=lambda _: self._withhold(),
            snapshot_position=self._snapshot_position,
            storage=self._storage,
        )
        self._snapshots = Snapshots(control, keys, self._applier, indexer, shards, settings)
        self._jobs = Jobs(
            control=control,
            keys=keys,
            applier=self._applier,
            indexer=indexer,
            shards=shards,
            settings=settings,
            snapshots=self._snapshots,
            has_disk=self._storage.has_disk,
        )
        self._probation = ProbationWatch(
            control,
            keys,
            worker_id,
            shards,
            server_ms=lambda: self._clock.server_us(time.monotonic()) // 1000,
            interval_s=tuning.heartbeat_interval_s,
            expiry_s=tuning.heartbeat_expiry_s,
            on_change=self._withhold,
        )
        self._vital_signs = HeartbeatSender(
            self._registry, self._heartbeat, tuning.heartbeat_interval_s
        )
        self._optimiser = Optimiser(
            control=control,
            keys=keys,
            applier=self._applier,
            settings=settings,
            tell=self._vital_signs.tell,
            has_disk=self._storage.has_disk,
        )
        self._reply_link = RedisConnection(
            Endpoint.of(settings.redis),
            name=f"hedgerow-worker-reply-{worker_id}",
            silence_s=settings.redis.command_timeout_s,
            on_connect=self._read_clock,
        )
        max_bytes = settings.limits.max_message_bytes
        in_flight = InFlight(self._clock, self._counters, max_bytes)
        self._cancel_listener = CancelListener(
            settings.redis, keys, worker_id, shards, in_flight, self._counters
        )
        replier = Replier(self._reply_link, worker_id, self._counters, max_bytes)
        hand_over = Forwarding(
            self._reply_link, keys, worker_id, settings.redis.queue_expiry_s, self._counters
        )
        searches = SearchService(
            lane=self._scorers,
            replier=replier,
            clock=self._clock,
            states=self._states,
            profiles=settings.rank_profiles,
            counters=self._counters,
            in_flight=in_flight,
            ledger=self._ledger,
            hand_over=hand_over,
            give_back=GiveBack(
                self._reply_link,
                keys,
                settings.redis.queue_expiry_s,
                self._counters,
                after_pull=self._after_pull,
            ),
            max_message_bytes=max_bytes,
        )
        self._fetches = FetchService(
            lanes=self._fetch_lanes,
            replier=replier,
            clock=self._clock,
            read=self._stores.read,
            enrichers=enrich_hooks(settings.rank_profiles),
            counters=self._counters,
            in_flight=in_flight,
            ledger=self._ledger,
            hand_over=hand_over,
            limits=settings.limits,
        )
        self._search_consumer = Consumer(
            endpoint=Endpoint.of(settings.redis),
            name=f"hedgerow-worker-search-{worker_id}",
            silence_s=settings.redis.command_timeout_s,
            control=self._reply_link,
            queues={keys.search_queue(shard): shard for shard in shards},
            lane=self._scorers,
            handle=searches.handle,
            replier=replier,
            own_queue=keys.worker_search_queue(worker_id),
            order=PullOrder(),
            spent_share=searches.spent_share,
        )
        self._fetch_consumer = Consumer(
            endpoint=Endpoint.of(settings.redis),
            name=f"hedgerow-worker-fetch-{worker_id}",
            silence_s=settings.redis.command_timeout_s,
            control=self._reply_link,
            queues={keys.fetch_queue(shard): shard for shard in shards},
            lane=self._fetch_lanes.reading,
            handle=self._fetches.handle,
            own_queue=keys.worker_fetch_queue(worker_id),
        )

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        settings: Settings,
        worker_id: str,
        shards: tuple[int, ...],
        import_path: tuple[str, ...],
        num_shards: int | None,
        start_launcher: Start = start_interpreter,
    ) -> "AsyncIterator[Worker]":
        """Make a worker of the cluster that the settings name.

        Raises:
            ConfigurationError: the cluster has other shards, or a profile cannot be used.
            RedisUnavailableError: there is no server.
        """
        control = await connect(settings.redis)
        try:
            registry = Registry(control, Keys(settings.redis.key_prefix))
            cluster = await registry.cluster(num_shards)
            if outside := [shard for shard in shards if shard >= cluster]:
                raise ConfigurationError(
                    f"--shards: {outside[0]} is not one of the cluster's 0 to {cluster - 1}"
                )
            yield cls(settings, worker_id, shards, import_path, control, cluster, start_launcher)
        finally:
            await control.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain."""
        async with AsyncExitStack() as started:
            started.push_async_callback(self._reply_link.close)
            await self._reply_link.start(START_TIMEOUT_S)
            started.push_async_callback(self._cancel_listener.close)
            await self._cancel_listener.start(START_TIMEOUT_S)
            for threads in self._fetch_lanes:
                started.push_async_callback(threads.close, 0.0)
            started.push_async_callback(self._snapshots.threads.close, 0.0)
            for lane in (self._scorers, self._indexer):
                await lane.start()
                started.push_async_callback(lane.close, 0.0)
            # Before any request: until the shards are open nobody knows what they hold.
            if not await self._open_when_possible(stop):
                return
            self._stores.open()
            started.callback(self._stores.close)
            async with asyncio.TaskGroup() as group:
                heartbeat = group.create_task(self._vital_signs.run(), name="heartbeat")
                writers = [
                    group.create_task(self._applier.run(), name="applier"),
                    group.create_task(self._jobs.run(), name="jobs"),
                    group.create_task(self._optimiser.run(), name="optimiser"),
                ]
                watchers = [
                    group.create_task(self._lag.run(), name="loop lag"),
                    group.create_task(self._probation.run(), name="probation"),
                    group.create_task(keep_clock(self._reply_link, self._clock), name="clock"),
                    group.create_task(self._quarantine.run(), name="quarantine"),
                    group.create_task(self._storage.run(), name="storage"),
                ]
                group.create_task(self._search_consumer.run(), name="search consumer")
                group.create_task(self._fetch_consumer.run(), name="fetch consumer")
                log.info("ready", worker=self.id, shards=list(self._shards), pid=os.getpid())
                await stop.wait()
                await self._drain(heartbeat, writers, watchers)
        log.info("stopped", worker=self.id)

    async def _open_when_possible(self, stop: asyncio.Event) -> bool:
        """Open the shards; wait while the disk, Redis or the system does not let them be opened.

        Ending would not help: the supervisor would start a worker that ends again.

        Returns:
            False when `stop` was set before.
        """
        throttle = Throttle(60.0)
        await self._storage.look()
        while not stop.is_set():
            try:
                await self._open_shards()
            except (WriteRefusedError, WorkError, SnapshotError, OSError) as error:
                if not (isinstance(error, WriteRefusedError) or self._storage.note(error)):
                    raise
                if throttle.allows("open", time.monotonic()):
                    log.warning("start_waits", worker=self.id, error=str(error))
            else:
                return True
            with suppress(TimeoutError):
                async with asyncio.timeout(OPEN_AGAIN_S):
                    await stop.wait()
        return False

    async def _open_shards(self) -> None:
        """Open the shards, those first restored that start with nothing."""
        if self._snapshots.store is not None:
            await self._snapshots.open()
            await restore_shards(
                self._log,
                self._snapshots.store,
                self._snapshots.threads,
                self._shards,
                self._num_shards,
                self._settings,
            )
        lost = await lost_shards(self._log, self._shards)
        await self._applier.open()
        states = [self._applier.states[shard] for shard in sorted(lost)]
        await revive_definitions(self._registry, states, self._num_shards)

    async def _drain(
        self,
        heartbeat: asyncio.Task[None],
        writers: list[asyncio.Task[None]],
        watchers: list[asyncio.Task[None]],
    ) -> None:
        """Stop in the order in which the parts need each other."""
        drain_s = self._settings.worker.drain_timeout_s
        log.info("draining", worker=self.id)
        # 1. Gateways stop asking, and nothing more is pulled: what waits in Redis is left to a
        #    replica. The heartbeat ends before it is taken back, or it would come again.
        await end([heartbeat], drain_s)
        await self._vital_signs.leave(self.id)
        await asyncio.gather(self._search_consumer.drain(), self._fetch_consumer.drain())
        # 2. What was pulled is finished and answered; the lanes and the reply link still stand.
        await asyncio.gather(self._scorers.close(drain_s), self._fetches.drain(drain_s))
        # 3. Writing stops. A batch that is cut short is applied again at the next start, since its
        #    position is recorded last.
        await end(writers, drain_s)
        await self._indexer.close(drain_s)
        # 4. Stores, threads and links go last, by the exit stack of `run`: all of the above needed
        #    them. A thread that hangs does not hold up the exit.
        await end(watchers, drain_s)

    def _snapshot_position(self, shard: int) -> str | None:
        return self._snapshots.position(shard)

    def _withhold(self) -> None:
        """Leave to other replicas what this one lacks a part of, or is too slow for."""
        unfit = self._applier.withheld
        withheld = unfit | self._probation.leaves
        if unfit >= set(self._shards):  # not on probation: that is what trials come by
            withheld |= {OWN_QUEUE}
        self._search_consumer.withhold(withheld)
        self._fetch_consumer.withhold(withheld)
        self._vital_signs.beat_soon()  # gateways count on this worker from when they hear of it

    def _owed_bytes(self) -> int:
        return self._applier.owed_bytes()

    def _on_shortage(self) -> None:
        self._vital_signs.beat_soon()

    def _after_pull(self, then: Callable[[], None]) -> None:
        self._search_consumer.after_pull(then)

    async def _read_clock(self, link: Handshake) -> None:
        await read_clock(link, self._clock)

    def _server_ms(self, at: float) -> int:
        return self._clock.server_us(at) // 1000

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            id=self.id,
            pid=os.getpid(),
            host=socket.gethostname(),
            version=__version__,
            beat_at_ms=self._server_ms(time.monotonic()),
            started_at_ms=self._server_ms(self._started),
            documents=self._states.documents(),
            lanes={
                "process": self._scorers.load(),
                "reading": self._fetch_lanes.reading.load(),
                "thread": self._fetch_lanes.enriching.load(),
                "indexer": self._indexer.load(),
                "loop": self._lag.as_dict(),
            },
            counters=self._counters.as_dict(),
            statistics=self._jobs.tables(),
            ledger=self._ledger.as_dict(),
            leaves=sorted(self._probation.leaves),
            shortages=self._storage.to_json(),
            attaches=True,
            **self._applier.progress(),
        )
