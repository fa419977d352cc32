"""The parts of one gateway, connected to each other; `gateway` starts, stops and offers them."""

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Iterable, Mapping

from hedgerow.common.collection import Collection
from hedgerow.common.fields.word_analysis import FIELD_TEXTS, PLAIN_TEXTS, TEXTS
from hedgerow.common.metrics.bounded_names import BoundedNames
from hedgerow.common.observability.telemetry import LagWatch
from hedgerow.common.observability.tracing import tracing_of
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.common.snapshots.status import SnapshotRecords
from hedgerow.common.state.aliases import AliasStore
from hedgerow.common.state.expiry import ExpiryStore
from hedgerow.common.state.gateways import GatewayStore
from hedgerow.common.state.judgements import JudgementStore
from hedgerow.common.state.optimising import OptimisingStore
from hedgerow.common.state.reloading import ReloadStore
from hedgerow.common.state.statistics import StatisticsStore
from hedgerow.common.state.synonyms import SynonymStore
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.common.wire.search_options import FIELD_TEXTS_LEVEL, TEXTS_LEVEL
from hedgerow.gateway.access.fair_share import FairShare
from hedgerow.gateway.access.request_admission import RequestAdmission
from hedgerow.gateway.embedding.query_embedder import QueryEmbedder
from hedgerow.gateway.live.journal import Journal
from hedgerow.gateway.metrics.search_recorder import SearchRecorder
from hedgerow.gateway.operations.breaker_switch import BreakerSwitch
from hedgerow.gateway.operations.optimising import Optimiser
from hedgerow.gateway.operations.own_shortages import OwnShortages
from hedgerow.gateway.operations.placement import PlacementAdmin
from hedgerow.gateway.operations.presence import Presence, ProcessPlace
from hedgerow.gateway.operations.quarantine import QuarantineAdmin
from hedgerow.gateway.operations.reloading import Reloader
from hedgerow.gateway.operations.server_watch import ServerWatch
from hedgerow.gateway.operations.snapshots import Snapshots
from hedgerow.gateway.operations.splits import SplitAdmin
from hedgerow.gateway.policies.breaker import Transition
from hedgerow.gateway.search.coverage.late_replies import CoverageCurves
from hedgerow.gateway.search.learning import Learning
from hedgerow.gateway.search.steps import SearchSteps
from hedgerow.gateway.shapes.collection import Filling
from hedgerow.gateway.transport.messenger import Messenger
from hedgerow.gateway.wiring import (
    ClusterAccess,
    Tracers,
    make_collections,
    make_documents,
    make_ejection,
    make_guards,
    make_hybrids,
    make_membership,
    make_reindexing,
    make_searcher,
    make_skipping,
    make_transport,
)
from hedgerow.gateway.writes.aliases import Aliases
from hedgerow.gateway.writes.conditional_writes import ConditionalWrites
from hedgerow.gateway.writes.delete_by_query import DeleteByQuery
from hedgerow.gateway.writes.document_reader import DocumentReader
from hedgerow.gateway.writes.expiry import Expiry
from hedgerow.gateway.writes.load_counts import LoadCounts
from hedgerow.gateway.writes.load_slots import LoadSlots
from hedgerow.gateway.writes.ranked_loads import RankedLoads
from hedgerow.gateway.writes.storage_gate import StorageGate
from hedgerow.gateway.writes.synonym_changes import SynonymChanges
from hedgerow.gateway.writes.synonyms import Synonyms
from hedgerow.gateway.writes.write_gate import WriteGate


class Parts:
    """All parts that serve requests; those that report on them are made by `reporting`.

    Attributes:
        access: the cluster.
        now: the event loop's time, in s.
        profiles: the rank profiles, if they were reloaded since the start.
        lag: measures how late the event loop runs.
        requests: admits requests that are neither searches nor bulk loads.
        shortages: the shortages of this gateway itself.
        storage: refuses writes while a disk or memory is full.
        server_watch: looks for shortages of the Redis server.
        tracing: sends spans; None while tracing is off.
        tracers: what traces requests.
        journal: the last events.
        recorder: counts searches for metrics and the page.
        load_counts: counts loaded documents for metrics.
        slots: the slots for concurrent loads.
        write_gate: holds writes back while a split changes over.
        guards: breakers and admission control.
        aliases: the aliases of collections, and their changes.
        collections: defines, describes and drops collections.
        synonyms: shows and changes the synonyms of collections.
        curves: the coverage by deadline of each collection.
        transport: carries requests to shards, and their replies back.
        membership: who serves which shard.
        ejection: keeps live requests from outliers among the workers.
        embedder: embeds the texts of queries.
        skipping: finds the shards that a search need not ask; None if it asks all.
        searcher: answers searches.
        steps: answers the searches that take several steps.
        hybrids: answers hybrid searches.
        reader: reads documents one by one.
        statistics: the collections' term statistics.
        ranked_loads: waits until a load is ranked by current statistics.
        documents: loads and deletes documents.
        conditional_writes: writes documents on a condition, and merges changes into them.
        delete_by_query: deletes the documents that a query finds.
        expiry: deletes documents that have expired.
        optimiser: asks for the optimising of text indexes.
        snapshots: asks for snapshots.
        quarantine: lists the queries that have killed scorers, and lets them run again.
        reloader: reads the rank profiles again.
        placement: shows which worker should serve which shard; drains workers.
        splits: begins and cancels splits of the shards.
        reindex_driver: moves the reindex of a collection on.
        reindexes: begins and ends it.
        presence: tells the other gateways of this one.
        breaker_switch: sets breakers by hand, in all gateways.
    """

    def __init__(
        self,
        access: ClusterAccess,
        read_settings: Callable[[], Settings] | None,
        place: ProcessPlace,
        on_view: Callable[[], None],
        before: "Parts | None" = None,
    ) -> None:
        """Make and connect the parts; none is started.

        Args:
            access: to the cluster.
            read_settings: reads the settings again; None if they do not come from a file.
            place: which of several processes that share a port this gateway is.
            on_view: called after each refresh of the view of the workers.
            before: the parts that these replace, since the shards are split. What does not depend
                on shards is taken over from them.
        """
        settings, control, keys = access.settings, access.client, access.keys
        self.access = access
        self.now = asyncio.get_running_loop().time
        self.profiles: Mapping[str, RankProfile] | None = None
        if before is None:
            self._make_lasting(place)
        else:
            self._take_over(before)
        self.storage = StorageGate(
            self._heartbeats, now=self.now, now_ms=self.server_ms, own=self.shortages.list
        )
        self.server_watch = ServerWatch(
            control, keys, settings.storage, self.storage, self.server_ms
        )

        self.guards = make_guards(access, self._on_transition, self.now())
        self.aliases = Aliases(AliasStore(control, keys), settings.limits.max_aliases, self.storage)
        synonyms = Synonyms(SynonymStore(control, keys), settings.limits, self.storage)
        self.collections = make_collections(
            access,
            self.aliases,
            synonyms,
            self.storage,
            self._filling_of,
            self._texts,
            lambda: self.membership.without_vectors,
            self.embedder.broken,
        )
        self.synonyms = SynonymChanges(synonyms, self.collections)
        self.curves = CoverageCurves(settings.coverage, self.collections.uids)
        self.transport = make_transport(access, self.guards, self.curves)
        if before is not None:
            self.transport.counters = before.transport.counters
        self.membership = make_membership(
            access, self.collections, self.server_ms, on_view, self.storage
        )
        # A random start, so that replies to another gateway that drew the same id match no query.
        next_id = itertools.count(secrets.randbits(32)).__next__
        self.ejection = make_ejection(access, self.transport, next_id, self.membership)
        self.skipping = make_skipping(access, self.membership)
        self.searcher = make_searcher(
            access,
            Messenger(self.transport, self.transport.clock, self.transport.reply_to, next_id),
            self.membership,
            self.guards,
            Learning(self.curves, [self.ejection.on_end, self.recorder.on_end]),
            self.tracers.searches,
            None if self.skipping is None else self.skipping.skipper,
        )
        self.searcher.checker.use_synonyms(synonyms.rules_of)
        self.steps = SearchSteps(self.searcher, self.membership, settings.query)
        self.hybrids = make_hybrids(access, self.searcher, self.embedder, self.membership)

        self.reader = DocumentReader(
            self.searcher.fetcher, self.collections, self.membership, settings
        )
        self.statistics = StatisticsStore(control, keys)
        self.ranked_loads = RankedLoads(
            store=self.statistics,
            registry=access.registry,
            live_replicas=self.membership.replicas_of,
            timeout_s=settings.gateway.statistics_timeout_s,
        )
        self.documents = make_documents(
            access,
            self.collections,
            self.membership,
            self.storage,
            self.ranked_loads,
            self.load_counts,
            self.tracers.writes,
            self.slots,
            self.write_gate,
        )

        self.conditional_writes = ConditionalWrites(
            self.documents,
            self.reader,
            self.collections,
            JudgementStore(control, keys),
            settings,
            access.num_shards,
            lambda: self.membership.workers,
        )

        self.delete_by_query = DeleteByQuery(
            self.documents, self.collections, self.searcher.search, settings.gateway
        )

        self.expiry = Expiry(
            ExpiryStore(control, keys),
            self.collections,
            self.delete_by_query.run,
            self.transport.counters,
            access.gateway_id,
            settings.gateway.expiry_interval_s,
        )

        self.optimiser = Optimiser(
            OptimisingStore(control, keys), self.collections, self.storage.check
        )
        self.snapshots = Snapshots(
            SnapshotRecords(control, keys),
            access.num_shards,
            settings.snapshots,
            self.storage.check,
        )
        self.quarantine = QuarantineAdmin(control, keys, settings.worker, self.server_ms)
        self.splits = SplitAdmin(
            control,
            keys,
            access.registry,
            access.num_shards,
            settings.worker.heartbeat_expiry_s,
            self.storage.check,
        )
        self.placement = PlacementAdmin(
            control, keys, access.registry, access.num_shards, settings, self.splits.running
        )
        self.reindex_driver, self.reindexes = make_reindexing(
            access, self.membership, self.aliases, self.storage, self.ranked_loads
        )
        self.reloader = Reloader(
            ReloadStore(control, keys),
            read_settings,
            live=lambda: self.membership.workers,
            definitions=self.collections.definitions,
            use=self._use_profiles,
        )
        self.breaker_switch = BreakerSwitch(access.gateway_id, self.guards, control, keys, self.now)
        if before is not None and before.profiles is not None:
            self._use_profiles(before.profiles)

    def _make_lasting(self, place: ProcessPlace) -> None:
        """Make what does not depend on shards."""
        access, settings = self.access, self.access.settings
        self.lag = LagWatch(settings.worker.loop_lag_threshold_ms)
        self.requests = RequestAdmission(settings.gateway.max_requests)
        self.tracing = tracing_of(settings.tracing, "hedgerow-gateway", access.gateway_id)
        self.tracers = Tracers.make(self.tracing)
        self.journal = Journal(lambda: time.time_ns() // 1_000_000)
        self.recorder = SearchRecorder(access.num_shards, settings.metrics.max_names)
        self.load_counts = LoadCounts(BoundedNames(settings.metrics.max_names))
        self.slots = LoadSlots(settings.gateway.max_loads, settings.gateway.load_idle_s)
        self.write_gate = WriteGate()
        self.embedder = QueryEmbedder(settings.embed, settings.rank_profiles)
        self.shortages = OwnShortages(settings.storage.poll_s, now=self.now, now_ms=self.server_ms)
        self.presence = Presence(
            access.gateway_id,
            place,
            GatewayStore(access.client, access.keys),
            lambda: self.searcher.num_in_flight,
            self.server_ms,
            layout=access.keys.layout,
        )

    def _take_over(self, before: "Parts") -> None:
        """Go on with what does not depend on shards."""
        self.lag, self.requests = before.lag, before.requests
        self.tracing, self.tracers = before.tracing, before.tracers
        self.journal, self.recorder = before.journal, before.recorder
        self.load_counts, self.slots = before.load_counts, before.slots
        self.write_gate, self.shortages = before.write_gate, before.shortages
        self.presence, self.embedder = before.presence, before.embedder

    def server_ms(self) -> int:
        """The Redis server's clock, in ms."""
        return self.transport.clock.server_us(self.now()) // 1000

    def shares(self) -> list[FairShare]:
        """How callers share what is admitted: searches, by guards, and other requests."""
        return [*self.guards.shares(), self.requests.shares]

    def _heartbeats(self) -> Iterable[Heartbeat]:
        return self.membership.workers.values()

    def _filling_of(self, collection: Collection) -> Filling | None:
        return self.membership.filling_of(collection)

    def _texts(self) -> int:
        known = self.membership.search_options
        if known >= FIELD_TEXTS_LEVEL:
            return FIELD_TEXTS
        return TEXTS if known >= TEXTS_LEVEL else PLAIN_TEXTS

    def _on_transition(self, shard: int, profile: str, transition: Transition) -> None:
        self.recorder.on_transition(shard, profile, transition)
        self.journal.add_transition(shard, profile, transition)

    def _use_profiles(self, profiles: Mapping[str, RankProfile]) -> None:
        self.profiles = profiles
        self.guards.use_profiles(profiles)
        self.searcher.use_profiles(profiles)
        self.hybrids.use_profiles(profiles)
        self.embedder.use_profiles(profiles)
        self.collections.use_profiles(profiles)
