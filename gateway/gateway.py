"""The gateway as a Python object: one per process, for HTTP, for benchmarks, and embedded."""

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from collections.abc import Collection as AbstractCollection
from contextlib import asynccontextmanager
from typing import Any

from hedgerow.common import __version__
from hedgerow.common.collection import Collection
from hedgerow.common.errors import BadRequestError, OverloadedError
from hedgerow.common.metrics.bounded_names import BoundedNames
from hedgerow.common.metrics.exposition import TextFormat
from hedgerow.common.observability.current_trace import CURRENT
from hedgerow.common.observability.telemetry import Counters, LagWatch
from hedgerow.common.observability.tracing import tracing_of
from hedgerow.common.redis.client import RedisClient, connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.snapshots.status import SnapshotRecords
from hedgerow.common.state import probation as probation_state
from hedgerow.common.state.optimising import OptimisingStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.reloading import ReloadStore
from hedgerow.common.state.statistics import StatisticsStore
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.access.fair_share import FairShare
from hedgerow.gateway.access.request_admission import RequestAdmission
from hedgerow.gateway.access.usage_report import keys_in_use, refused_addresses
from hedgerow.gateway.live.changes import Cluster
from hedgerow.gateway.live.journal import Journal
from hedgerow.gateway.live.live import Live, Sources
from hedgerow.gateway.live.sources import cluster_of, totals_of
from hedgerow.gateway.metrics.collector import GatewayCollector
from hedgerow.gateway.metrics.page import MetricsPage
from hedgerow.gateway.metrics.redis_facts import RedisFactsReader
from hedgerow.gateway.metrics.search_recorder import SearchRecorder
from hedgerow.gateway.operations.optimising import Optimiser
from hedgerow.gateway.operations.own_shortages import OwnShortages
from hedgerow.gateway.operations.placement import PlacementAdmin
from hedgerow.gateway.operations.quarantine import QuarantineAdmin
from hedgerow.gateway.operations.reloading import Reloader
from hedgerow.gateway.operations.server_watch import ServerWatch
from hedgerow.gateway.operations.shared_state import SharedStateReader
from hedgerow.gateway.operations.snapshots import Snapshots
from hedgerow.gateway.operations.status_report import StatusReport
from hedgerow.gateway.policies.breaker import Transition
from hedgerow.gateway.policies.hedging import HedgeCounts
from hedgerow.gateway.search.coverage.late_replies import CoverageCurves
from hedgerow.gateway.search.coverage.report import coverage_report
from hedgerow.gateway.search.learning import Learning
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.search_body import check_members, search_body
from hedgerow.gateway.shapes.collection import Filling
from hedgerow.gateway.transport.messenger import Messenger
from hedgerow.gateway.transport.wake_up_coalescing import sleep_for
from hedgerow.gateway.wiring import (
    ClusterAccess,
    Tracers,
    make_collections,
    make_documents,
    make_ejection,
    make_guards,
    make_membership,
    make_searcher,
    make_transport,
)
from hedgerow.gateway.writes.document_reader import DocumentReader
from hedgerow.gateway.writes.load_counts import LoadCounts
from hedgerow.gateway.writes.ranked_loads import RankedLoads
from hedgerow.gateway.writes.storage_gate import StorageGate

START_TIMEOUT_S = 30.0
# If the view of the workers is older than this, in polls and in s, Redis does not answer.
_STALE_POLLS = 4
_STALE_S = 1.0


class Gateway:
    """Answers searches, takes documents, and reports the state of the cluster.

    Attributes:
        id: unique to this process; part of its reply channel's name.
        num_shards: shards in the cluster.
        collections: defines, describes and drops collections.
        documents: loads and deletes documents.
        reader: reads documents one by one.
        snapshots: asks for snapshots.
        optimiser: asks for the optimising of text indexes.
        quarantine: lists the queries that have killed scorers, and lets them run again.
        placement: shows which worker should serve which shard; drains workers.
        reloader: reads the rank profiles again.
        requests: admits requests that are neither searches nor bulk loads.
        shortages: the shortages of this gateway itself.
        live: the last minutes, and the viewers of what happens.
    """

    def __init__(
        self,
        settings: Settings,
        control: RedisClient,
        num_shards: int,
        read_settings: Callable[[], Settings] | None = None,
    ) -> None:
        """Wire the parts; use `Gateway.connect`, which also starts them."""
        self.id = secrets.token_hex(4)
        self.settings = settings
        self.num_shards = num_shards
        keys = Keys(settings.redis.key_prefix)
        self._control = control
        self._keys = keys
        self._registry = Registry(control, keys)
        access = ClusterAccess(settings, control, keys, self._registry, num_shards, self.id)
        self._loop = asyncio.get_running_loop()
        self._lag = LagWatch(settings.worker.loop_lag_threshold_ms)
        self._search_body = search_body(settings.gateway)
        self.requests = RequestAdmission(settings.gateway.max_requests)
        self.shortages = OwnShortages(
            settings.storage.poll_s, now=self._loop.time, now_ms=self._server_ms
        )
        self._storage = StorageGate(
            self._heartbeats, now=self._loop.time, now_ms=self._server_ms, own=self.shortages.list
        )
        self._server_watch = ServerWatch(
            control, keys, settings.storage, self._storage, self._server_ms
        )
        self.collections = make_collections(access, self._storage, self._filling_of)
        self._tracing = tracing_of(settings.tracing, "hedgerow-gateway", self.id)
        tracers = Tracers.make(self._tracing)

        journal = Journal(lambda: time.time_ns() // 1_000_000)
        max_names = settings.metrics.max_names
        self._recorder = SearchRecorder(num_shards, max_names)
        self._load_counts = LoadCounts(BoundedNames(max_names))

        def on_transition(shard: int, profile: str, transition: Transition) -> None:
            self._recorder.on_transition(shard, profile, transition)
            journal.add_transition(shard, profile, transition)

        self._guards = make_guards(access, on_transition, self._loop.time())
        self._tracers = tracers
        self._curves = CoverageCurves(settings.coverage, self.collections.uids)
        self._transport = make_transport(access, self._guards, self._curves)
        self._membership = make_membership(
            access, self.collections, self._server_ms, self._on_members
        )
        # A random start, so that replies to another gateway that drew the same id match no query.
        next_id = itertools.count(secrets.randbits(32)).__next__
        self._ejection = make_ejection(access, self._transport, next_id, self._membership)
        self._searcher = make_searcher(
            access,
            Messenger(self._transport, self._transport.clock, self._transport.reply_to, next_id),
            self._membership,
            self._guards,
            Learning(self._curves, [self._ejection.on_end, self._recorder.on_end]),
            tracers.searches,
        )
        self.reader = DocumentReader(
            self._searcher.fetcher, self.collections, self._membership, settings
        )

        statistics = StatisticsStore(control, keys)
        self._ranked_loads = RankedLoads(
            store=statistics,
            registry=self._registry,
            live_replicas=self._membership.replicas_of,
            timeout_s=settings.gateway.statistics_timeout_s,
        )
        self.documents = make_documents(
            access,
            self.collections,
            self._membership,
            self._storage,
            self._ranked_loads,
            self._load_counts,
            tracers.writes,
        )
        self.optimiser = Optimiser(
            OptimisingStore(control, keys), self.collections, self._storage.check
        )
        self.snapshots = Snapshots(
            SnapshotRecords(control, keys), num_shards, settings.snapshots, self._storage.check
        )
        self.quarantine = QuarantineAdmin(control, keys, settings.worker, self._server_ms)
        self.placement = PlacementAdmin(control, keys, self._registry, num_shards, settings)
        self.reloader = Reloader(
            ReloadStore(control, keys),
            read_settings,
            live=lambda: self._membership.workers,
            definitions=self.collections.definitions,
            use=self._use_profiles,
        )
        self._status = StatusReport(
            shared=SharedStateReader(
                client=control,
                registry=self._registry,
                statistics=statistics,
                snapshots=self.snapshots,
                optimiser=self.optimiser,
                quarantine=self.quarantine,
                num_shards=num_shards,
                timeout_s=settings.redis.command_timeout_s,
            ),
            collections=self.collections,
            membership=self._membership,
            ejection=self._ejection,
            storage=self._storage,
            guards=self._guards,
            curves=self._curves,
            own=self._own_status,
            deadline_ms=settings.gateway.default_deadline_ms,
            server_ms=self._server_ms,
        )
        sources = Sources(
            gateway_id=self.id,
            totals=lambda: totals_of(self._recorder.tally(), self._searcher, self._guards),
            cluster=self._cluster,
            status=self.status,
        )
        self.live = Live(sources, journal, settings.gateway.max_viewers)
        journal.on_event = self.live.on_event
        self._metrics = MetricsPage(
            GatewayCollector(
                recorder=self._recorder,
                searcher=self._searcher,
                guards=self._guards,
                transport=self._transport,
                membership=self._membership,
                ejection=self._ejection,
                collections=self.collections,
                loads=self._load_counts,
                storage=self._storage,
                requests=self.requests,
                lag=self._lag,
                profiles=BoundedNames(max_names),
                num_addresses_refused=lambda: sum(
                    shares.num_addresses_refused for shares in self._shares()
                ),
                server_ms=self._server_ms,
                now=self._loop.time,
            ),
            RedisFactsReader(
                registry=self._registry,
                log=ShardLog(control, keys),
                snapshots=self.snapshots,
                quarantine=self.quarantine,
                num_shards=num_shards,
            ),
        )
        self._stale_after_s = max(_STALE_POLLS * settings.gateway.membership_poll_s, _STALE_S)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        settings: Settings,
        num_shards: int | None = None,
        read_settings: Callable[[], Settings] | None = None,
    ) -> "AsyncIterator[Gateway]":
        """Start a gateway, and stop it at the end of the block.

        Args:
            settings: all settings.
            num_shards: shards in the cluster; None to read the number from Redis.
            read_settings: reads the settings again, for a reload of the rank profiles; None if
                they do not come from a file.

        Raises:
            ConfigurationError: the server is too old, or has another number of shards.
            RedisUnavailableError: there is no server.
        """
        control = await connect(settings.redis)
        try:
            registry = Registry(control, Keys(settings.redis.key_prefix))
            cluster = await registry.cluster(num_shards)
            gateway = cls(settings, control, cluster, read_settings)
            async with gateway._running():
                yield gateway
        finally:
            await control.close()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        try:
            if self._tracing is not None:
                self._tracing.start()
            await self._transport.start(START_TIMEOUT_S)
            await self.collections.refresh()
            await self._membership.refresh()
            left_by: BaseException | None = None
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._membership.run(), name="membership"),
                    group.create_task(self.collections.run(), name="collections"),
                    group.create_task(self._ejection.run(), name="probation"),
                    group.create_task(self._listen(), name="events"),
                    group.create_task(self._lag.run(), name="loop lag"),
                    group.create_task(self._server_watch.run(), name="server watch"),
                    group.create_task(self.shortages.run(), name="own shortages"),
                    group.create_task(self.live.run(), name="live"),
                ]
                try:
                    yield
                    await self._searcher.drain(self.settings.gateway.drain_timeout_s)
                except BaseException as error:  # noqa: BLE001 - raised again below
                    # Not raised within the group, which would wrap the caller's own error.
                    left_by = error
                for task in tasks:
                    task.cancel()
            if left_by is not None:
                raise left_by
        finally:
            self._searcher.close()
            # Last, since queries in flight need it: no reply can come once it is closed.
            await self._transport.close()
            if self._tracing is not None:
                await asyncio.to_thread(self._tracing.close)

    async def _listen(self) -> None:
        """Pass announced events on to the parts that they concern."""
        async for event in self._control.events(self._keys.events):
            kind, _, shard = event.decode(errors="replace").partition(":")
            if kind == "applied" and shard.isdecimal():
                self.documents.wake(int(shard))
            self._ranked_loads.take(event)
            if kind in ("workers", "reconnected"):
                self._membership.wake()
            if kind in (probation_state.EVENT, "reconnected"):
                self._ejection.wake()
            if kind in ("collections", "reconnected"):
                self.collections.wake()
            if self.reloader.take(event):
                await self.reloader.follow(event)

    def _use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        self._guards.use_profiles(profiles)
        self._searcher.use_profiles(profiles)
        self.collections.use_profiles(profiles)

    @property
    def counters(self) -> Counters:
        """This gateway's counters, as in the status."""
        return self._transport.counters

    @property
    def is_connected(self) -> bool:
        """Whether the gateway is connected to Redis."""
        return self._transport.is_connected

    @property
    def is_ready(self) -> bool:
        """Whether a query could be answered: Redis answers and at least one shard is live.

        If Redis hangs, its connections stay open, but the view of the workers becomes old.
        """
        return (
            self.is_connected
            and any(self._membership.live)
            and self._membership.age_s(self._loop.time()) < self._stale_after_s
        )

    def hedge_counts(self) -> HedgeCounts:
        """How the second copies of searches have ended so far."""
        return self._searcher.hedger.counts

    def coalescing_s(self) -> float:
        """How long an idle loop should sleep, in s; see `transport.wake_up_coalescing`."""
        return sleep_for(self._guards.num_in_flight, self._guards.shared.admission.duration_s)

    def callers(self) -> dict[str, dict[str, int]]:
        """Name of each key that was used → `in_flight`, and `refused` for its share."""
        return keys_in_use(self._shares())

    def keep_keys(self, names: AbstractCollection[str]) -> None:
        """Forget the counts of keys that are not among `names`, since they were revoked."""
        for shares in self._shares():
            shares.keep_keys(names)
        self.live.keep_keys(names)
        self._recorder.keep_keys(names)

    def refusal_of(self, query: SearchQuery) -> OverloadedError | None:
        """Return a refusal if there is no room for a query, without waiting; otherwise None.

        Raises:
            NotFoundError: there is no such collection.
        """
        refusal = self._searcher.refusal_of(query, self.collections.get(query.collection))
        if refusal is not None:
            self._recorder.failed(query, "", refusal)
        return refusal

    def count_unread(self, caller: str, error: BaseException) -> None:
        """Count a search that was refused before it was read; `caller` may be empty."""
        self._recorder.unread(caller, error)

    async def search(self, query: SearchQuery) -> SearchResult:
        """Answer a query by its deadline, with the replies that have arrived.

        The documents belong to the caller: they no longer count as held by this gateway.

        Raises:
            NotFoundError: there is no such collection.
            BadRequestError: the query cannot be answered; names the field and the reason.
            InsufficientCoverageError: less was searched than demanded, or nothing; carries the
                result with every shard's outcome.
        """
        check_members(query, self._search_body)
        if self._tracing is None:
            result = await self.search_held(query)
        else:
            current = CURRENT.set(b"")  # the caller's task goes on after the search
            try:
                result = await self.search_held(query)
            finally:
                CURRENT.reset(current)
        if result.lease is not None:
            result.lease.release()
        return result

    async def search_held(self, query: SearchQuery) -> SearchResult:
        """As `search`, for a query whose members were checked when it was decoded, as over HTTP.

        The result's documents count as held (`gateway.max_held_bytes`) until the last reference to
        its `lease` is gone.
        """
        profile = ""
        try:
            collection = self.collections.get(query.collection)
            profile = query.rank_profile or collection.rank_profile
            result = await self._searcher.search(query, collection)
        except BaseException as error:
            self._recorder.failed(query, profile, error)
            raise
        self._recorder.answered(query, profile, result)
        return result

    async def get_document(
        self, collection: str, document_id: str, deadline_ms: float | None = None
    ) -> dict[str, Any]:
        """Read one document; see `DocumentReader.get`."""
        return await self.reader.get(collection, document_id, deadline_ms)

    def coverage_curve(self, collection: str, deadline_ms: float) -> dict[str, Any]:
        """Return the coverage that this gateway's queries have reached by each deadline, as JSON.

        Args:
            collection: the collection's name.
            deadline_ms: the deadline for which to report what more time would have given, in ms.

        Raises:
            NotFoundError: there is no such collection.
        """
        curve = self._curves.curve(self.collections.get(collection).uid)
        return {"name": collection, **coverage_report(curve, deadline_ms)}

    def set_breaker(self, shard: int, state: str) -> None:
        """Set a breaker by hand.

        Args:
            shard: the shard of the breaker.
            state: `forced_open`, `disabled`, or `closed`, after which it works by itself again.

        Raises:
            BadRequestError: there is no such shard or state.
        """
        if not 0 <= shard < self.num_shards:
            raise BadRequestError("shard", f"is {shard}; there are {self.num_shards} shards")
        if state not in ("forced_open", "disabled", "closed"):
            raise BadRequestError("state", "must be forced_open, disabled or closed")
        now = self._loop.time()
        for guards in self._guards:
            breaker = guards.breakers[shard]
            match state:
                case "forced_open":
                    breaker.force_open(now)
                case "disabled":
                    breaker.disable(now)
                case _:
                    breaker.reset(now)

    async def metrics_text(self, form: TextFormat, keys: Sequence[Mapping[str, Any]]) -> bytes:
        """Write the metrics for Prometheus.

        Args:
            form: the text format.
            keys: the keys as `AccessControl.to_json` describes them.
        """
        return await self._metrics.text(form, keys)

    async def status(self) -> dict[str, Any]:
        """Return the state of the cluster, as `gateway status --json` prints it."""
        return await self._status.make()

    def _own_status(self) -> dict[str, Any]:
        """The part of the status about this gateway itself."""
        searcher, now = self._searcher, self._loop.time()
        return {
            "id": self.id,
            "version": __version__,
            "in_flight": searcher.num_in_flight,
            "counters": self._transport.counters.as_dict(),
            "answers": searcher.fetcher.memory.as_dict(),
            "loop": self._lag.as_dict(),
            "admission": self._guards.admission_json(now),
            "requests": self.requests.to_json(),
            "addresses": refused_addresses(self._shares()),
            "hedges": {
                "search": searcher.hedger.as_dict(),
                "fetch": searcher.fetcher.hedger.as_dict(),
            },
            "clock_error_us": round(self._transport.clock.error_us, 1),
            "tracing": self._tracers.as_dict(),
        }

    def _on_members(self) -> None:
        """The view of the workers is fresh; a dead one may be back before the next second."""
        self.live.look()

    def _cluster(self) -> Cluster:
        return cluster_of(
            self._membership,
            self._ejection,
            self.collections,
            self._storage,
            is_connected=self.is_connected,
            now_ms=self._server_ms(),
        )

    def _shares(self) -> list[FairShare]:
        return [*self._guards.shares(), self.requests.shares]

    def _heartbeats(self) -> Iterable[Heartbeat]:
        return self._membership.workers.values()

    def _filling_of(self, collection: Collection) -> Filling | None:
        return self._membership.filling_of(collection)

    def _server_ms(self) -> int:
        return self._transport.clock.server_us(self._loop.time()) // 1000
