"""The gateway as a Python object: one per process, for HTTP, for benchmarks, and embedded."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from collections.abc import Collection as AbstractCollection
from contextlib import asynccontextmanager
from typing import Any

from hedgerow.common.errors import OverloadedError
from hedgerow.common.metrics.exposition import TextFormat
from hedgerow.common.observability.current_trace import CURRENT
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.layout import Layout, current_keys
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.access.usage_report import keys_in_use
from hedgerow.gateway.layout_follower import LayoutFollower, start
from hedgerow.gateway.operations.presence import ProcessPlace
from hedgerow.gateway.parts import Parts
from hedgerow.gateway.policies.hedging import HedgeCounts
from hedgerow.gateway.reporting import make_live, make_metrics, make_status, sources_of
from hedgerow.gateway.search.coverage.report import coverage_report
from hedgerow.gateway.search.documents.answer_memory import Lease
from hedgerow.gateway.search.hybrid.hybrid_searcher import HybridSearcher
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.search_body import check_members, search_body
from hedgerow.gateway.search.searcher import Searcher
from hedgerow.gateway.search.steps import SearchSteps, takes_steps
from hedgerow.gateway.transport.wake_up_coalescing import sleep_for
from hedgerow.gateway.wiring import ClusterAccess

# If the view of the workers is older than this, in polls and in s, Redis does not answer.
_STALE_POLLS = 4
_STALE_S = 1.0


class Gateway:
    """Answers searches, takes documents, and reports the state of the cluster.

    Attributes:
        id: unique to this process; part of its reply channel's name.
        num_shards: shards in the cluster.
        aliases: the aliases of collections, and their changes.
        collections: defines, describes and drops collections.
        synonyms: shows and changes the synonyms of collections.
        documents: loads and deletes documents.
        conditional_writes: writes documents on a condition, and merges changes into them.
        delete_by_query: deletes the documents that a query finds.
        expiry: deletes documents that have expired.
        reader: reads documents one by one.
        snapshots: asks for snapshots.
        optimiser: asks for the optimising of text indexes.
        quarantine: lists the queries that have killed scorers, and lets them run again.
        reloader: reads the rank profiles again.
        placement: shows which worker should serve which shard; drains workers.
        splits: begins and cancels splits of the shards.
        reindexes: begins and ends the reindex of a collection.
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
        place: ProcessPlace = ProcessPlace(),  # noqa: B008 - frozen
        layout: int = 0,
    ) -> None:
        """Wire the parts; use `Gateway.connect`, which also starts them."""
        self.id = secrets.token_hex(4)
        self.settings = settings
        self._control = control
        self._read_settings = read_settings
        self._place = place
        self._stale_after_s = max(_STALE_POLLS * settings.gateway.membership_poll_s, _STALE_S)
        self._search_body = search_body(settings.gateway)
        parts = self._make_parts(Layout(layout, num_shards))
        self.live = make_live(parts, make_status(parts))
        self._use(parts)

    def _make_parts(self, layout: Layout, before: Parts | None = None) -> Parts:
        """Make the parts that search one layout; `before` are those of another."""
        keys = Keys.of(self.settings.redis).of_layout(layout.id)
        registry = Registry(self._control, keys)
        access = ClusterAccess(
            self.settings, self._control, keys, registry, layout.num_shards, self.id
        )
        return Parts(access, self._read_settings, self._place, self._on_view, before)

    def _use(self, parts: Parts) -> None:
        """Serve by these parts from now on."""
        self._parts = parts
        self._registry, self._keys = parts.access.registry, parts.access.keys
        self.num_shards = parts.access.num_shards

        self.aliases = parts.aliases
        self.collections = parts.collections
        self.synonyms = parts.synonyms
        self.documents = parts.documents
        self.conditional_writes = parts.conditional_writes
        self.delete_by_query = parts.delete_by_query
        self.expiry = parts.expiry
        self.reader = parts.reader
        self.snapshots = parts.snapshots
        self.optimiser = parts.optimiser
        self.quarantine = parts.quarantine
        self.placement = parts.placement
        self.splits = parts.splits
        self.reindexes = parts.reindexes
        self.reloader = parts.reloader
        self.requests = parts.requests
        self.shortages = parts.shortages

        self._searcher = parts.searcher
        self._steps = parts.steps
        self._hybrids = parts.hybrids
        self._guards = parts.guards
        self._membership = parts.membership
        self._transport = parts.transport
        self._recorder = parts.recorder
        self._tracing = parts.tracing

        self._recorder.grow(self.num_shards)
        self._status = make_status(parts)
        self.live.follow(sources_of(parts, self._status))
        self._metrics = make_metrics(parts)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        settings: Settings,
        num_shards: int | None = None,
        read_settings: Callable[[], Settings] | None = None,
        place: ProcessPlace = ProcessPlace(),  # noqa: B008 - frozen
    ) -> "AsyncIterator[Gateway]":
        """Start a gateway, and stop it at the end of the block.

        Args:
            settings: all settings.
            num_shards: shards in the cluster; None to read the number from Redis.
            read_settings: reads the settings again, for a reload of the rank profiles; None if
                they do not come from a file.
            place: which of several processes that share a port this gateway is.

        Raises:
            ConfigurationError: the server is too old, or has another number of shards.
            RedisUnavailableError: there is no server.
        """
        control = await connect(settings.redis)
        try:
            keys = await current_keys(control, Keys.of(settings.redis))
            cluster = await Registry(control, keys).cluster(num_shards)
            gateway = cls(settings, control, cluster, read_settings, place, keys.layout)
            async with gateway._running():
                yield gateway
        finally:
            await control.close()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        try:
            if self._tracing is not None:
                self._tracing.start()
            await start(self._parts)
            follower = LayoutFollower(self._control, self._parts, self._make_parts, self._use)
            left_by: BaseException | None = None
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(follower.run(), name="layout"),
                    group.create_task(self._parts.lag.run(), name="loop lag"),
                    group.create_task(self.shortages.run(), name="own shortages"),
                    group.create_task(self.live.run(), name="live"),
                    group.create_task(self._parts.presence.run(), name="gateway heartbeat"),
                    group.create_task(self._parts.embedder.run(), name="embedding"),
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
                if self._parts.tracers.searches is not None:
                    self._parts.tracers.searches.flush()
                await asyncio.to_thread(self._tracing.close)

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
        """Whether to send queries here: Redis answers, a shard is live, and it is not leaving.

        If Redis hangs, its connections stay open, but the view of the workers becomes old.
        """
        return (
            not self.is_leaving
            and self.is_connected
            and any(self._membership.live)
            and self._membership.age_s(self._parts.now()) < self._stale_after_s
        )

    @property
    def is_leaving(self) -> bool:
        """Whether the gateway is about to stop."""
        return self._parts.presence.is_leaving

    def leave(self) -> None:
        """The gateway is about to stop: it is not ready from now on, and still answers."""
        self._parts.presence.leave()

    def hedge_counts(self) -> HedgeCounts:
        """How the second copies of searches have ended so far."""
        return self._searcher.hedger.counts

    def coalescing_s(self) -> float:
        """How long an idle loop should sleep, in s; see `transport.wake_up_coalescing`."""
        return sleep_for(self._guards.num_in_flight, self._guards.shared.admission.duration_s)

    def callers(self) -> dict[str, dict[str, int]]:
        """Name of each key that was used → `in_flight`, and `refused` for its share."""
        return keys_in_use(self._parts.shares())

    def keep_keys(self, names: AbstractCollection[str]) -> None:
        """Forget the counts of keys that are not among `names`, since they were revoked."""
        for shares in self._parts.shares():
            shares.keep_keys(names)
        self.live.keep_keys(names)
        self._recorder.keep_keys(names)

    def refusal_of(self, query: SearchQuery) -> OverloadedError | None:
        """Return a refusal if there is no room for a query, without waiting; otherwise None.

        Raises:
            NotFoundError: there is no such collection.
        """
        refusal = self._hybrids.refusal_of(query, self.collections.get(query.collection))
        if refusal is not None:
            self._recorder.failed(query, "", refusal)
        return refusal

    def answer_lease(self, party: str) -> Lease:
        """Return a lease of the memory for answers (`gateway.max_held_bytes`) for a party."""
        return self._searcher.fetcher.memory.lease(party)

    def count_unread(self, caller: str, error: BaseException) -> None:
        """Count a search that was refused before it was read; `caller` may be empty."""
        self._recorder.unread(caller, error)

    async def search(self, query: SearchQuery) -> SearchResult:
        """Answer a query by its deadline, with the replies that have arrived.

        The documents belong to the caller: they no longer count as held by this gateway.

        Raises:
            NotFoundError: there is no such collection, or no document that others could be like.
            UnavailableError: the shard of that document has not answered.
            BadRequestError: the query cannot be answered; names the field and the reason.
            InsufficientCoverageError: less was searched than demanded, or nothing; carries the
                result with every shard's outcome.
        """
        check_members(query, self._search_body)
        if self._tracing is None:
            result = await self.search_held(query)
        else:
            before = CURRENT.get()  # the caller's task goes on after the search
            try:
                result = await self.search_held(query)
            finally:
                CURRENT.set(before)
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
            answering: Searcher | SearchSteps | HybridSearcher = self._searcher
            if takes_steps(query):
                answering = self._steps
            elif query.vector is not None or query.hybrid is not None:
                answering = self._hybrids
            result = await answering.search(query, collection)
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
        found = self.collections.get(collection)
        curve = self._parts.curves.curve(found.uid)
        return {"name": found.name, **coverage_report(curve, deadline_ms)}

    def set_breaker(self, shard: int, state: str) -> None:
        """Set a breaker by hand, in this gateway.

        Args:
            shard: the shard of the breaker.
            state: `forced_open`, `disabled`, or `closed`, after which it works by itself again.

        Raises:
            BadRequestError: there is no such shard or state.
        """
        self._parts.breaker_switch.set(shard, state)

    async def set_breaker_everywhere(self, shard: int, state: str) -> None:
        """As `set_breaker`, in all live gateways; see `BreakerSwitch.set_everywhere`."""
        await self._parts.breaker_switch.set_everywhere(shard, state)

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

    def _on_view(self) -> None:
        """The view of the workers is fresh; a dead one may be back before the next second."""
        self.live.look()
