"""Reads what the parts of a gateway have counted, and what they see. Asks nothing of Redis."""

from hedgerow.common.state.reindexing import Reindex
from hedgerow.gateway.live.changes import Cluster
from hedgerow.gateway.live.history import Totals
from hedgerow.gateway.members.membership import Membership
from hedgerow.gateway.members.outlier_ejection import OutlierEjection
from hedgerow.gateway.search.guards.profile_guards import ProfileGuards
from hedgerow.gateway.search.searcher import Searcher
from hedgerow.gateway.search.tally import SearchTally
from hedgerow.gateway.writes.aliases import Aliases
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.storage_gate import StorageGate


def totals_of(tally: SearchTally, searcher: Searcher, guards: ProfileGuards) -> Totals:
    """What has been counted so far, for the history of the last minutes."""
    hedges = (searcher.hedger.counts, searcher.fetcher.hedger.counts)
    return Totals.of(
        tally,
        refused=guards.num_refused,
        hedges_sent=sum(counts.sent for counts in hedges),
        hedges_won=sum(counts.won for counts in hedges),
        in_flight=searcher.num_in_flight,
        limit=guards.shared.admission.limit.value,
    )


def cluster_of(
    membership: Membership,
    ejection: OutlierEjection,
    collections: Collections,
    aliases: Aliases,
    storage: StorageGate,
    *,
    is_connected: bool,
    now_ms: int,
    reindex: Reindex | None = None,
) -> Cluster:
    """What the journal of events is written by; `now_ms` is the Redis server's clock."""
    entries = ejection.entries(now_ms)
    return Cluster(
        workers=membership.workers,
        probation={worker: entry.reason for worker, entry in entries.items()},
        collections=frozenset(collections.names().values()),
        shortages=storage.list(),
        is_connected=is_connected,
        aliases=aliases.known(),
        reindex=reindex,
    )
