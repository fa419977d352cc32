"""The part of the status about this gateway itself."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hedgerow.common import __version__
from hedgerow.common.observability.telemetry import LagWatch
from hedgerow.gateway.access.fair_share import FairShare
from hedgerow.gateway.access.request_admission import RequestAdmission
from hedgerow.gateway.access.usage_report import refused_addresses
from hedgerow.gateway.search.guards.profile_guards import ProfileGuards
from hedgerow.gateway.search.searcher import Searcher
from hedgerow.gateway.transport.split import GatewayTransport


@dataclass(frozen=True, slots=True)
class OwnStatus:
    """Describes this gateway, from its parts.

    Attributes:
        gateway_id: unique to this process.
        shares: how callers share what is admitted.
        tracing: returns figures of tracing; None while it is off.
        embedding: returns what was embedded of queries; None if there is nothing to embed.
        now: the event loop's time, in s.
    """

    gateway_id: str
    searcher: Searcher
    transport: GatewayTransport
    guards: ProfileGuards
    requests: RequestAdmission
    lag: LagWatch
    shares: Callable[[], Iterable[FairShare]]
    tracing: Callable[[], Mapping[str, int] | None]
    embedding: Callable[[], Mapping[str, Any] | None]
    now: Callable[[], float]

    def to_json(self) -> dict[str, Any]:
        """Return it as in the status."""
        searcher = self.searcher
        return {
            "id": self.gateway_id,
            "version": __version__,
            "in_flight": searcher.num_in_flight,
            "counters": self.transport.counters.as_dict(),
            "answers": searcher.fetcher.memory.as_dict(),
            "loop": self.lag.as_dict(),
            "admission": self.guards.admission_json(self.now()),
            "requests": self.requests.to_json(),
            "addresses": refused_addresses(self.shares()),
            "hedges": {
                "search": searcher.hedger.as_dict(),
                "fetch": searcher.fetcher.hedger.as_dict(),
            },
            "clock_error_us": round(self.transport.clock.error_us, 1),
            "tracing": self.tracing(),
            "embedding": self.embedding(),
        }
