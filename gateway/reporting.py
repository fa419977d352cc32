"""Makes those parts of a gateway that report on the others: status, metrics, and live view."""

from hedgerow.common.metrics.bounded_names import BoundedNames
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.gateway.live.changes import Cluster
from hedgerow.gateway.live.live import Live, Sources
from hedgerow.gateway.live.placement_view import PlacementView
from hedgerow.gateway.live.sources import cluster_of, totals_of
from hedgerow.gateway.metrics.collector import GatewayCollector
from hedgerow.gateway.metrics.page import MetricsPage
from hedgerow.gateway.metrics.redis_facts import RedisFactsReader
from hedgerow.gateway.operations.own_status import OwnStatus
from hedgerow.gateway.operations.shared_state import SharedStateReader
from hedgerow.gateway.operations.status_report import StatusReport
from hedgerow.gateway.parts import Parts


def make_status(parts: Parts) -> StatusReport:
    """Make the status of the cluster, as this gateway sees it."""
    access = parts.access
    settings = access.settings
    shared = SharedStateReader(
        client=access.client,
        registry=access.registry,
        statistics=parts.statistics,
        snapshots=parts.snapshots,
        optimiser=parts.optimiser,
        quarantine=parts.quarantine,
        gateways=parts.presence.store,
        splits=parts.splits,
        reindexes=parts.reindexes,
        num_shards=access.num_shards,
        timeout_s=settings.redis.command_timeout_s,
    )
    own = OwnStatus(
        gateway_id=access.gateway_id,
        searcher=parts.searcher,
        transport=parts.transport,
        guards=parts.guards,
        requests=parts.requests,
        lag=parts.lag,
        shares=parts.shares,
        tracing=parts.tracers.as_dict,
        embedding=parts.embedder.to_json,
        now=parts.now,
    )
    return StatusReport(
        shared=shared,
        collections=parts.collections,
        membership=parts.membership,
        ejection=parts.ejection,
        storage=parts.storage,
        guards=parts.guards,
        curves=parts.curves,
        own=own.to_json,
        deadline_ms=settings.gateway.default_deadline_ms,
        server_ms=parts.server_ms,
    )


def make_live(parts: Parts, status: StatusReport) -> Live:
    """Make the stream of what happens, which also gets each event of the journal."""
    sources = sources_of(parts, status)
    live = Live(sources, parts.journal, parts.access.settings.gateway.max_viewers)
    parts.journal.on_event = live.on_event
    return live


def sources_of(parts: Parts, status: StatusReport) -> Sources:
    """What the stream of what happens is made of."""

    def cluster() -> Cluster:
        return cluster_of(
            parts.membership,
            parts.ejection,
            parts.collections,
            parts.aliases,
            parts.storage,
            is_connected=parts.transport.is_connected,
            now_ms=parts.server_ms(),
            reindex=parts.reindex_driver.reindex,
        )

    def has_joined() -> bool:
        return any(beat.joins for beat in parts.membership.workers.values())

    return Sources(
        gateway_id=parts.access.gateway_id,
        totals=lambda: totals_of(parts.recorder.tally(), parts.searcher, parts.guards),
        cluster=cluster,
        status=status.make,
        placement=PlacementView(parts.placement.describe, has_joined).read,
    )


def make_metrics(parts: Parts) -> MetricsPage:
    """Make the page that Prometheus reads."""
    access = parts.access
    collector = GatewayCollector(
        recorder=parts.recorder,
        searcher=parts.searcher,
        guards=parts.guards,
        transport=parts.transport,
        membership=parts.membership,
        ejection=parts.ejection,
        collections=parts.collections,
        loads=parts.load_counts,
        storage=parts.storage,
        requests=parts.requests,
        lag=parts.lag,
        profiles=BoundedNames(access.settings.metrics.max_names),
        num_addresses_refused=lambda: sum(
            shares.num_addresses_refused for shares in parts.shares()
        ),
        server_ms=parts.server_ms,
        now=parts.now,
        reindex=parts.reindex_driver.progress,
        embedding=parts.embedder.to_json,
    )
    facts = RedisFactsReader(
        registry=access.registry,
        log=ShardLog(access.client, access.keys),
        snapshots=parts.snapshots,
        quarantine=parts.quarantine,
        num_shards=access.num_shards,
    )
    return MetricsPage(collector, facts)
