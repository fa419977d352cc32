"""A real searcher over scripted shards."""

import math
from collections.abc import Iterable

from hedgerow.common.collection import Collection
from hedgerow.common.redis.server_clock import ServerClock
from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.tail import AdmissionSettings, CoverageSettings, HedgingSettings
from hedgerow.common.wire.search_options import LEVEL
from hedgerow.gateway.policies.admission import Admission
from hedgerow.gateway.search.coverage.late_replies import CoverageCurves
from hedgerow.gateway.search.ended_search import Observer
from hedgerow.gateway.search.guards.breakers import Breakers
from hedgerow.gateway.search.guards.heavy_work import HeavyWork
from hedgerow.gateway.search.guards.profile_guards import Guards, ProfileGuards
from hedgerow.gateway.search.learning import Learning
from hedgerow.gateway.search.plan import NO_WORKER
from hedgerow.gateway.search.search_settings import SearchSettings
from hedgerow.gateway.search.searcher import Searcher
from hedgerow.gateway.search.skipping.skipper import Skipper
from hedgerow.gateway.search.walks import Walks
from hedgerow.gateway.shapes.collection import Filling
from hedgerow.gateway.transport.messenger import Messenger
from tests.unit.support.scripted import ScriptedTransport

COLLECTION = Collection(name="things", uid="u1", fields={}, rank_profile="noop")
PROFILES = {
    "noop": RankProfile(first_phase="noop", lane="loop"),
    "bm25": RankProfile(),
    "ranked": RankProfile(second_phase="some:function"),
}


class FixedView:
    """Every shard is live, and last reported the documents given."""

    def __init__(self, counts: list[int], num_live: int = 1) -> None:
        self.live = [True] * len(counts)
        self.no_worker = NO_WORKER
        self.num_live = [num_live] * len(counts)
        self.died_at = [-math.inf] * len(counts)
        self.filling: Filling | None = None
        self.attaches = True
        self.search_options = LEVEL
        self._counts = counts

    @property
    def has_replicas(self) -> bool:
        """Of any shard."""
        return max(self.num_live) > 1

    def workers_of(self, shard: int) -> list[str]:
        """As many as are live."""
        return [f"w{number}" for number in range(self.num_live[shard])]

    def filling_of(self, collection: Collection) -> Filling | None:
        """What was set."""
        return self.filling

    def counts_of(self, uid: str) -> list[int | None]:
        """The same for every collection."""
        return list(self._counts)


def searcher_over(
    transport: ScriptedTransport,
    counts: list[int],
    num_live: int = 1,
    hedging: HedgingSettings | None = None,
    coverage: CoverageSettings | None = None,
    observers: Iterable[Observer] = (),
    settings: GatewaySettings | None = None,
    max_attached_bytes: int = 0,
    admission: AdmissionSettings | None = None,
    walks: Walks | None = None,
    skipper: Skipper | None = None,
) -> Searcher:
    """A real searcher over scripted shards, which hears of late replies."""
    coverage = coverage or CoverageSettings()
    curves = CoverageCurves(coverage, lambda: [COLLECTION.uid])
    transport.on_late = curves.on_late
    return Searcher(
        Messenger(transport, ServerClock(), "here", iter(range(1, 10_000)).__next__),
        FixedView(counts, num_live),
        ProfileGuards(
            Guards(
                Breakers(len(counts), BreakerSettings(), lambda: 0.5),
                Admission(len(counts), admission or AdmissionSettings()),
            ),
            heavy=HeavyWork([0.0] * len(counts), heavy_s=0.02, grace_s=0.25, now=0.0),
        ),
        SearchSettings(
            gateway=settings or GatewaySettings(),
            limits=QuerySettings(),
            profiles=dict(PROFILES),
            hedging=hedging or HedgingSettings(),
            coverage=coverage,
            max_attached_bytes=max_attached_bytes,
        ),
        Learning(curves, observers),
        walks,
        skipper,
    )
