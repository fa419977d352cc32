"""Collects a gateway's metrics when they are scraped, from the parts that count anyway."""

import platform
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hedgerow.common import __version__
from hedgerow.common.metrics.bounded_names import BoundedNames
from hedgerow.common.metrics.metric import Family, family, single, summed
from hedgerow.common.metrics.process_metrics import process_families
from hedgerow.common.metrics.worker_metrics import worker_families
from hedgerow.common.observability.telemetry import Counters, LagWatch
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.access.request_admission import RequestAdmission
from hedgerow.gateway.embedding.query_embedder import ENDS
from hedgerow.gateway.members.membership import Membership
from hedgerow.gateway.members.outlier_ejection import OutlierEjection
from hedgerow.gateway.metrics import catalogue
from hedgerow.gateway.metrics.redis_facts import RedisFacts
from hedgerow.gateway.metrics.search_recorder import SearchRecorder
from hedgerow.gateway.policies.breaker import State
from hedgerow.gateway.reindexing.progress import Progress
from hedgerow.gateway.search.guards.profile_guards import Guards, ProfileGuards
from hedgerow.gateway.search.searcher import Searcher
from hedgerow.gateway.transport.split import GatewayTransport
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.load_counts import LoadCounts
from hedgerow.gateway.writes.storage_gate import StorageGate

# The counters of connections, whose series begin at 0.
CONNECTION_LIMITS: Final = (
    "http_bad_requests",
    "http_heads_too_large",
    "http_timeouts",
    "connections_refused",
    "connections_closed_for_room",
    "answers_not_taken",
    "tls_failures",
    "tls_handshakes_delayed",
)
# Counters with a metric of their own; all others count a limit that a client has hit.
OWN_COUNTERS: Final = {
    "replies_late": catalogue.LATE_REPLIES,
    "push_failed": catalogue.UNSENT,
    "pushes_redirected": catalogue.REDIRECTED,
    "requests_sent_again": catalogue.SENT_AGAIN,
    "replies_malformed": catalogue.MALFORMED,
    "documents_expired": catalogue.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class GatewayCollector:
    """The parts of a gateway that metrics are about.

    Attributes:
        profiles: the rank profiles with series of their own.
        num_addresses_refused: how many requests were refused for the share of an address.
        server_ms: the Redis server's clock.
        now: the event loop's time, in s.
        reindex: how far the reindex in progress is; None if there is none.
        embedding: what was embedded of queries; None if there is nothing to embed.
        started_at: when the gateway was made, a Unix time.
    """

    recorder: SearchRecorder
    searcher: Searcher
    guards: ProfileGuards
    transport: GatewayTransport
    membership: Membership
    ejection: OutlierEjection
    collections: Collections
    loads: LoadCounts
    storage: StorageGate
    requests: RequestAdmission
    lag: LagWatch
    profiles: BoundedNames
    num_addresses_refused: Callable[[], int]
    server_ms: Callable[[], int]
    now: Callable[[], float]
    reindex: Callable[[], Progress | None] = lambda: None
    embedding: Callable[[], Mapping[str, Any] | None] = lambda: None
    started_at: float = field(default_factory=time.time)

    def families(self, facts: RedisFacts, keys: Sequence[Mapping[str, Any]]) -> Iterator[Family]:
        """All metrics, with samples that are computed while they are written.

        Args:
            facts: what Redis knows.
            keys: the keys as `AccessControl.to_json` describes them.
        """
        names = set(self.collections.names().values())
        self.recorder.keep(names)
        self.loads.keep(names)
        yield from self._searches()
        yield from self._guards(facts)
        yield from self._callers(keys)
        yield from self._embedding()
        yield from self._documents(facts)
        yield from self._cluster(facts)
        yield from self._own(facts)
        yield from worker_families(self._unscraped(), self.profiles)

    def _searches(self) -> Iterator[Family]:
        recorder = self.recorder
        yield family(catalogue.SEARCHES, recorder.results())
        yield family(
            catalogue.DURATION,
            ((*labels, found.distribution()) for *labels, found in recorder.durations()),
        )
        yield family(
            catalogue.PART_DURATION,
            ((part, found.distribution()) for part, found in recorder.parts.items()),
        )
        yield single(catalogue.COVERAGE, recorder.coverages().distribution())
        yield single(catalogue.TIME_LEFT, recorder.time_left().distribution())
        yield family(catalogue.OUTCOMES, recorder.outcomes())

    def _embedding(self) -> Iterator[Family]:
        found = self.embedding()
        if found is not None:
            ends = [(end, found[end]) for end in ENDS]
            yield family(catalogue.EMBEDDING_TEXTS, ends)
            yield single(catalogue.EMBEDDING_CALLS, found["calls"])
            yield single(catalogue.EMBEDDING_TIME, found["seconds"])
            yield single(catalogue.EMBEDDING_WAITING, found["waiting"])

    def _guards(self, facts: RedisFacts) -> Iterator[Family]:
        yield family(catalogue.BREAKER, summed(self._breakers()))
        yield family(catalogue.TRANSITIONS, summed(self._transitions()))
        hedgers = {"search": self.searcher.hedger, "fetch": self.searcher.fetcher.hedger}
        counts = {kind: hedger.as_dict() for kind, hedger in hedgers.items()}
        yield family(catalogue.HEDGES_SENT, ((kind, of["sent"]) for kind, of in counts.items()))
        yield family(
            catalogue.HEDGES_ENDED,
            (
                (kind, end, of[end])
                for kind, of in counts.items()
                for end in ("won", "lost_before_start", "lost_while_running")
            ),
        )
        yield family(
            catalogue.HEDGES_REFUSED, ((kind, of["refused"]) for kind, of in counts.items())
        )
        by_profile = list(self._by_profile())
        yield family(
            catalogue.LIMIT,
            summed((profile, of.admission.limit.value) for profile, of in by_profile),
        )
        yield family(
            catalogue.IN_FLIGHT,
            summed((profile, of.admission.num_in_flight) for profile, of in by_profile),
        )
        forecast_ms = self.guards.shared.admission.snapshot(self.now()).forecast_ms
        yield family(
            catalogue.FORECAST,
            ((shard, wait_ms / 1000) for shard, wait_ms in enumerate(forecast_ms)),
        )
        yield family(catalogue.QUEUE, sorted(facts.backlog.items()))

    def _breakers(self) -> Iterator[tuple[int, str, str, int]]:
        now = self.now()
        for profile, guards in self._by_profile():
            for shard, breaker in enumerate(guards.breakers):
                current = breaker.state(now)
                for state in State:
                    yield shard, profile, state.value, int(state is current)

    def _transitions(self) -> Iterator[tuple[int, str, str, int]]:
        found = self.recorder.transitions
        for profile in ("", *self.guards.own):
            for shard in self.guards.shared.breakers.shards:
                for state in State:
                    num = found[shard, profile, state.value]
                    yield shard, self._profile(profile), state.value, num

    def _by_profile(self) -> Iterator[tuple[str, Guards]]:
        """Label of a profile with guards of its own, "" for the shared ones; and those guards."""
        yield "", self.guards.shared
        for profile, guards in self.guards.own.items():
            yield self.profiles.of(profile), guards

    def _profile(self, profile: str) -> str:
        return self.profiles.of(profile) if profile else ""

    def _callers(self, keys: Sequence[Mapping[str, Any]]) -> Iterator[Family]:
        yield single(catalogue.REQUESTS, self.requests.num_in_flight)
        yield family(catalogue.LIMITS_HIT, self._limits_hit())
        used = [key for key in keys if key["requests"] or any(key["refused"].values())]
        named = [(self.recorder.key(key["name"]), key) for key in used]
        yield family(
            catalogue.KEY_REQUESTS, summed((label, key["requests"]) for label, key in named)
        )
        yield family(
            catalogue.KEY_REFUSED,
            summed(
                (label, cause, num) for label, key in named for cause, num in key["refused"].items()
            ),
        )

    def _limits_hit(self) -> Iterator[tuple[str, int]]:
        counters = {**dict.fromkeys(CONNECTION_LIMITS, 0), **self.transport.counters.as_dict()}
        for name, num in counters.items():
            if name not in OWN_COUNTERS:
                yield name, num
        refused = self.requests.to_json()["refused"]
        yield "max_requests", refused["requests"]
        yield "share_of_requests", refused["share"]
        yield "share_of_address", self.num_addresses_refused()
        yield "max_held_bytes", self.searcher.fetcher.memory.num_refused

    def _documents(self, facts: RedisFacts) -> Iterator[Family]:
        yield family(catalogue.ACCEPTED, list(self.loads.accepted.items()))
        yield family(catalogue.REJECTED, list(self.loads.rejected.items()))
        counts = self.membership.counts_of
        yield family(
            catalogue.DOCUMENTS,
            summed(
                (self.loads.names.of(name), sum(count or 0 for count in counts(uid)))
                for uid, name in self.collections.names().items()
            ),
        )
        if (found := self.reindex()) is not None:
            whats = ("old", found.documents), ("copied", found.copied), ("faulty", found.faulty)
            yield family(catalogue.REINDEX, whats)
        yield family(
            catalogue.LOG_LAG,
            ((worker, shard, lag_s) for (worker, shard), lag_s in facts.log_lag_s.items()),
        )

    def _cluster(self, facts: RedisFacts) -> Iterator[Family]:
        membership = self.membership
        yield single(catalogue.WORKERS, len(membership.workers))
        yield family(
            catalogue.REPLICAS,
            ((shard, membership.num_replicas(shard)) for shard in range(len(membership.live))),
        )
        on_probation = set(self.ejection.entries(self.server_ms())) & set(membership.workers)
        yield single(catalogue.PROBATION, len(on_probation))
        if facts.num_quarantined is not None:
            yield single(catalogue.QUARANTINED, facts.num_quarantined)
        newest = [(n, one.newest) for n, one in sorted(facts.snapshots.items()) if one.newest]
        yield family(catalogue.SNAPSHOT_TIME, ((n, one.made_at_ms / 1000) for n, one in newest))
        yield family(catalogue.SNAPSHOT_BYTES, ((n, one.num_bytes) for n, one in newest))
        snapshots = sorted(facts.snapshots.items())
        yield family(
            catalogue.SNAPSHOT_FAILED, ((n, int(bool(one.failed_at_ms))) for n, one in snapshots)
        )
        yield family(catalogue.SNAPSHOT_KEPT, ((n, one.num_kept) for n, one in snapshots))
        yield family(
            catalogue.SHORTAGES,
            summed((one["where"], one["resource"], one["state"], 1) for one in self.storage.list()),
        )

    def _own(self, facts: RedisFacts) -> Iterator[Family]:
        yield single(catalogue.REDIS_UP, int(facts.is_up))
        yield single(catalogue.RECONNECTS, self.transport.num_reconnects)
        counters: Counters = self.transport.counters
        for name, metric in OWN_COUNTERS.items():
            yield single(metric, counters[name])
        yield single(catalogue.CLOCK_ERROR, self.transport.clock.error_us / 1e6)
        yield single(catalogue.HELD, self.searcher.fetcher.memory.held_bytes)
        yield single(catalogue.LAG, self.lag.lags.distribution())
        yield family(catalogue.BUILD, [(__version__, platform.python_version(), 1)])
        yield from process_families(self.started_at)

    def _unscraped(self) -> list[Heartbeat]:
        """Workers that serve no metrics of their own, which would then be there twice."""
        beats: Collection[Heartbeat] = self.membership.workers.values()
        return [beat for beat in beats if not beat.metrics.get("scraped")]
