"""Makes those parts of a gateway from the settings that take more than a line; starts none."""

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

import structlog

from hedgerow.common.collection import Collection
from hedgerow.common.observability.tracing import Tracing
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.aliases import AliasStore
from hedgerow.common.state.expiry import ExpiryStore
from hedgerow.common.state.layout import LayoutStore
from hedgerow.common.state.probation import ProbationStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.reindexing import ReindexStore
from hedgerow.common.state.statistics import StatisticsStore
from hedgerow.common.state.summaries import SummaryStore
from hedgerow.common.state.synonyms import SynonymStore
from hedgerow.gateway.embedding.query_embedder import QueryEmbedder
from hedgerow.gateway.members.membership import Membership
from hedgerow.gateway.members.outlier_ejection import OutlierEjection
from hedgerow.gateway.members.summary_reading import SummaryReading
from hedgerow.gateway.policies.breaker import Transition
from hedgerow.gateway.policies.tail_sampling import TailSampling
from hedgerow.gateway.reindexing.admin import ReindexAdmin
from hedgerow.gateway.reindexing.carried_settings import CarriedSettings
from hedgerow.gateway.reindexing.driver import ReindexDriver
from hedgerow.gateway.reindexing.view import ReindexView
from hedgerow.gateway.search.coverage.late_replies import CoverageCurves
from hedgerow.gateway.search.guards.profile_guards import OnTransition, ProfileGuards
from hedgerow.gateway.search.hybrid.hybrid_searcher import HybridSearcher
from hedgerow.gateway.search.learning import Learning
from hedgerow.gateway.search.search_settings import SearchSettings
from hedgerow.gateway.search.search_tracer import SearchTracer
from hedgerow.gateway.search.searcher import Searcher
from hedgerow.gateway.search.skipping.skipper import Skipper
from hedgerow.gateway.search.walks import Walks
from hedgerow.gateway.shapes.collection import Filling
from hedgerow.gateway.transport.messenger import Messenger
from hedgerow.gateway.transport.redis import RedisTransport
from hedgerow.gateway.transport.split import GatewayTransport, SplitTransport
from hedgerow.gateway.transport.stamp_check import StampCheck
from hedgerow.gateway.writes.aliases import Aliases
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.documents import Documents
from hedgerow.gateway.writes.load_counts import LoadCounts
from hedgerow.gateway.writes.load_slots import LoadSlots
from hedgerow.gateway.writes.ranked_loads import RankedLoads
from hedgerow.gateway.writes.storage_gate import StorageGate
from hedgerow.gateway.writes.synonyms import Synonyms
from hedgerow.gateway.writes.write_gate import WriteGate
from hedgerow.gateway.writes.write_tracer import WriteTracer

LEAST_SHARDS = 2  # a single shard is asked whatever it holds

log = structlog.get_logger()


class ClusterAccess(NamedTuple):
    """What the parts need for access to the cluster.

    Attributes:
        settings: all settings.
        client: the Redis client, for everything but a query's path.
        keys: the names of keys in Redis.
        registry: the cluster's definition, heartbeats and collections.
        num_shards: shards in the cluster.
        gateway_id: unique to this process.
    """

    settings: Settings
    client: RedisClient
    keys: Keys
    registry: Registry
    num_shards: int
    gateway_id: str


class Tracers(NamedTuple):
    """What traces requests; all None while tracing is off.

    Attributes:
        searches: the searches.
        writes: the loads, and what else is written.
        sampling: decides which traces are kept.
        tracing: sends the spans.
    """

    searches: SearchTracer | None = None
    writes: WriteTracer | None = None
    sampling: TailSampling | None = None
    tracing: Tracing | None = None

    @classmethod
    def make(cls, tracing: Tracing | None) -> "Tracers":
        """Make them."""
        if tracing is None:
            return cls()
        sampling = TailSampling(tracing.settings, random.random)
        return cls(
            SearchTracer(sampling, tracing), WriteTracer(sampling, tracing), sampling, tracing
        )

    def as_dict(self) -> dict[str, int] | None:
        """Figures for the status; None while tracing is off."""
        if self.sampling is None or self.tracing is None:
            return None
        spans = {f"spans_{name}": number for name, number in self.tracing.queue.as_dict().items()}
        return {**self.sampling.as_dict(), **spans}


def make_guards(access: ClusterAccess, on_transition: OnTransition, now: float) -> ProfileGuards:
    """Make admission control and the breakers; `now` is the event loop's time, in s."""

    def changed(shard: int, profile: str, transition: Transition) -> None:
        _log_transition(shard, profile, transition)
        on_transition(shard, profile, transition)

    return ProfileGuards.make(
        num_shards=access.num_shards,
        settings=access.settings,
        rng=random.random,
        on_transition=changed,
        now=now,
    )


def make_collections(
    access: ClusterAccess,
    aliases: Aliases,
    synonyms: Synonyms,
    gate: StorageGate,
    filling_of: Callable[[Collection], Filling | None],
    texts: Callable[[], int],
    without_vectors: Callable[[], str | None],
    broken: Mapping[str, str],
) -> Collections:
    """Make the part that defines and drops collections.

    `filling_of` is the membership's, `texts` is what its workers know (`Collection.texts`), and
    `without_vectors` is one of them that cannot index vectors. `broken` is the embedder's.
    """
    settings = access.settings
    return Collections(
        access.registry,
        access.num_shards,
        settings.rank_profiles,
        max_collections=settings.limits.max_collections,
        gate=gate,
        filling_of=filling_of,
        texts=texts,
        aliases=aliases,
        synonyms=synonyms,
        functions=settings.embed.functions,
        broken=broken,
        without_vectors=without_vectors,
    )


def make_reindexing(
    access: ClusterAccess,
    membership: Membership,
    aliases: Aliases,
    gate: StorageGate,
    ranked: RankedLoads,
) -> tuple[ReindexDriver, ReindexAdmin]:
    """Make the parts that move the reindex of a collection on, and begin and end it."""
    control, keys = access.client, access.keys
    store = ReindexStore(control, keys)
    layout = LayoutStore(control, keys)
    settings = CarriedSettings(
        access.registry, SynonymStore(control, keys), ExpiryStore(control, keys)
    )
    view = ReindexView(
        access.registry, membership, aliases, layout, gate, settings, access.num_shards
    )
    driver = ReindexDriver(
        store,
        view,
        ShardLog(control, keys),
        AliasStore(control, keys),
        ranked,
        settings,
        access.gateway_id,
        access.settings.gateway.reindex_share,
    )
    return driver, ReindexAdmin(store, driver, view, access.registry, aliases, gate, settings)


def make_transport(
    access: ClusterAccess, guards: ProfileGuards, curves: CoverageCurves
) -> GatewayTransport:
    """Make the transport, which reports the lengths of queues and late replies."""
    settings = access.settings
    if access.client.is_split:
        return SplitTransport(
            settings,
            access.client,
            access.keys,
            access.gateway_id,
            guards.shared.admission.on_backlog,
            curves.on_late,
        )
    return RedisTransport(
        settings.redis,
        settings.limits,
        access.keys,
        access.gateway_id,
        guards.shared.admission.on_backlog,
        curves.on_late,
        access.client.primary,
    )


def make_membership(
    access: ClusterAccess,
    collections: Collections,
    server_ms: Callable[[], int],
    on_view: Callable[[], None],
    storage: StorageGate,
) -> Membership:
    """Make the view of the workers.

    Args:
        access: to the cluster.
        collections: whose documents are counted.
        server_ms: the Redis server's clock.
        on_view: called after each refresh of the view.
        storage: knows what the Redis server runs out of.
    """
    settings = access.settings
    return Membership(
        access.registry,
        access.num_shards,
        settings.worker.heartbeat_expiry_s,
        settings.gateway.membership_poll_s,
        server_ms,
        collections.uids,
        on_view,
        storage.server_shortage,
    )


def make_documents(
    access: ClusterAccess,
    collections: Collections,
    membership: Membership,
    gate: StorageGate,
    ranked: RankedLoads,
    counts: LoadCounts,
    tracer: WriteTracer | None,
    slots: LoadSlots,
    write_gate: WriteGate,
) -> Documents:
    """Make the part that loads and deletes documents."""
    settings = access.settings
    return Documents(
        ShardLog(access.client, access.keys),
        collections,
        access.num_shards,
        settings.limits,
        write_timeout_s=settings.gateway.write_timeout_s,
        slots=slots,
        live_replicas=membership.replicas_of,
        read_live=membership.read_again,
        gate=gate,
        ranked=ranked,
        counts=counts,
        tracer=tracer,
        write_gate=write_gate,
    )


def make_ejection(
    access: ClusterAccess,
    transport: GatewayTransport,
    next_id: Callable[[], int],
    membership: Membership,
) -> OutlierEjection:
    """Make the part that keeps live requests from outliers among the workers."""
    return OutlierEjection(
        settings=access.settings.probation,
        store=ProbationStore(access.client, access.keys),
        members=membership,
        num_shards=access.num_shards,
        transport=transport,
        next_id=next_id,
        server_us=transport.clock.server_us,
        rng=random.random,
        gateway_id=access.gateway_id,
    )


def make_searcher(
    access: ClusterAccess,
    messenger: Messenger,
    membership: Membership,
    guards: ProfileGuards,
    learning: Learning,
    tracer: SearchTracer | None,
    skipper: Skipper | None,
) -> Searcher:
    """Make the part that answers searches; `tracer` is None while tracing is off."""
    settings = access.settings
    return Searcher(
        messenger,
        membership,
        guards,
        SearchSettings.of(settings),
        learning,
        Walks(settings.gateway.slow_ms, tracer, lambda: membership.traces),
        skipper,
    )


class Skipping(NamedTuple):
    """What finds the shards that need not be asked.

    Attributes:
        skipper: finds them.
        reading: keeps the summaries that it needs.
    """

    skipper: Skipper
    reading: SummaryReading

    async def run(self) -> None:
        """Keep the summaries fresh until cancelled."""
        await self.reading.run(self.skipper)


def make_skipping(access: ClusterAccess, membership: Membership) -> Skipping | None:
    """Make what finds the shards that need not be asked; None if every shard is asked."""
    settings, client, keys = access.settings, access.client, access.keys
    if not settings.gateway.summary_bytes or access.num_shards < LEAST_SHARDS:
        return None
    check = StampCheck(
        client.primary,
        keys,
        f"hedgerow-gateway-stamps-{access.gateway_id}",
        settings.redis.command_timeout_s,
        lambda: skipper.forget_all(),  # noqa: PLW0108 - it is made below
    )
    reading = SummaryReading(
        SummaryStore(client, keys),
        StatisticsStore(client, keys),
        check,
        access.num_shards,
        settings.gateway.summary_bytes,
    )
    skipper = Skipper(
        check,
        lambda: membership.retracts,
        settings.rank_profiles,
        reading.wake,
        membership.ranks_by,
    )
    return Skipping(skipper, reading)


def make_hybrids(
    access: ClusterAccess, searcher: Searcher, embedder: QueryEmbedder, membership: Membership
) -> HybridSearcher:
    """Make the part that answers hybrid searches, with the parts that answer their legs."""
    settings = access.settings
    return HybridSearcher(
        searcher, embedder, membership, SearchSettings.of(settings), settings.embed.functions
    )


def _log_transition(shard: int, profile: str, transition: Transition) -> None:
    log.info(
        "breaker",
        shard=shard,
        **({"profile": profile} if profile else {}),
        before=transition.before.value,
        after=transition.after.value,
        reason=transition.reason,
    )
