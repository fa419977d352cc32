"""A gateway that answers from a script, to test client, commands and HTTP without a cluster."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from hedgerow.common.errors import OverloadedError
from hedgerow.common.metrics.exposition import TextFormat
from hedgerow.gateway.access.request_admission import RequestAdmission
from hedgerow.gateway.live.changes import Cluster
from hedgerow.gateway.live.history import Totals
from hedgerow.gateway.live.journal import Journal
from hedgerow.gateway.live.live import Live, Sources
from hedgerow.gateway.search.coverage.report import coverage_report
from hedgerow.gateway.search.documents.answer_memory import AnswerMemory, Lease
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.gateway.search.tally import SearchTally
from tests.support.fake_operations import (
    FakeOptimiser,
    FakePlacement,
    FakeQuarantine,
    FakeReindexes,
    FakeReloader,
    FakeSnapshots,
    FakeSplits,
    next_of,
)
from tests.support.fake_writes import (
    FakeAliases,
    FakeCollections,
    FakeConditionalWrites,
    FakeDeleteByQuery,
    FakeDocuments,
    FakeExpiry,
    FakeReader,
    FakeSynonyms,
)
from tests.support.sample_results import make_curve, make_result

_NO_HEDGES = dict.fromkeys(("sent", "won", "lost_before_start", "lost_while_running", "refused"), 0)
# A cluster that has nothing yet.
EMPTY_STATUS: dict[str, Any] = {
    "shards": [],
    "workers": [],
    "collections": [],
    "shortages": [],
    "quarantine": [],
    "snapshots": [],
    "redis": {"connected": True, "name": "valkey", "version": "9.1.0", "pid": 1},
    "gateway": {
        "id": "g",
        "version": "0.1.0",
        "in_flight": 0,
        "counters": {},
        "answers": {"held_bytes": 0, "refused": 0},
        "loop": {"lags": 0, "max_lag_ms": 0.0},
        "hedges": {"search": _NO_HEDGES, "fetch": _NO_HEDGES},
        "admission": {
            "enabled": True,
            "limit": 8,
            "in_flight": {},
            "refused": {},
            "forecast_ms": [],
            "profiles": {},
        },
        "requests": {"limit": 128, "in_flight": 0, "refused": {"requests": 0, "share": 0}},
        "addresses": {"refused": 0, "most_refused": []},
        "access": {"open": True, "keys": [], "keys_error": ""},
        "clock_error_us": 12.5,
        "tracing": None,
        "embedding": None,
    },
    "gateways": [],
}


def collection_status(name: str, index: dict[str, Any]) -> dict[str, Any]:
    """A collection as the status shows it."""
    return {
        "name": name,
        "documents": 3,
        "statistics": {"shards": 2, "changes_behind": 0, "is_current": True, "is_spread": True},
        "index": index,
        "coverage_curve": coverage_report(make_curve(), 300.0, is_brief=True),
    }


async def _empty_status() -> dict[str, Any]:
    return EMPTY_STATUS


async def _no_placement() -> None:
    return None


def _empty_cluster() -> Cluster:
    return Cluster({}, {}, frozenset(), (), is_connected=True)


def make_live(
    journal: Journal | None = None,
    max_viewers: int = 20,
    status: Callable[[], Awaitable[dict[str, Any]]] = _empty_status,
    cluster: Callable[[], Cluster] = _empty_cluster,
    placement: Callable[[], Awaitable[dict[str, Any] | None]] = _no_placement,
) -> Live:
    """The stream of a cluster that has nothing, and where nothing happens by itself."""
    journal = journal or Journal(lambda: 1_000)
    sources = Sources(
        gateway_id="g",
        totals=lambda: Totals.of(SearchTally()),
        cluster=cluster,
        status=status,
        placement=placement,
    )
    live = Live(sources, journal, max_viewers)
    journal.on_event = live.on_event
    return live


class FakeGateway:
    """Answers each search with `answer`, which may be an error to raise.

    Attributes:
        live: a stream that ends after the history, since it is closed.
    """

    def __init__(self) -> None:
        self.aliases = FakeAliases()
        self.collections = FakeCollections(self.aliases)
        self.documents = FakeDocuments()
        self.conditional_writes = FakeConditionalWrites()
        self.delete_by_query = FakeDeleteByQuery()
        self.expiry = FakeExpiry()
        self.synonyms = FakeSynonyms()
        self.reader = FakeReader()
        self.snapshots = FakeSnapshots()
        self.optimiser = FakeOptimiser()
        self.quarantine = FakeQuarantine()
        self.reloader = FakeReloader()
        self.placement = FakePlacement()
        self.splits = FakeSplits()
        self.reindexes = FakeReindexes()
        self.requests = RequestAdmission(128)
        self.live = make_live()
        self.live.close()
        self.is_ready = True
        self.is_leaving = False
        self.answer: SearchResult | Exception = make_result()
        self.searches: list[SearchQuery] = []
        self.breakers: dict[int, str] = {}
        self.refusal: OverloadedError | None = None
        self.unread: list[tuple[str, BaseException]] = []
        self.memory = AnswerMemory(33_554_432)

    def refusal_of(self, query: SearchQuery) -> OverloadedError | None:
        """Refuse each search as the script says."""
        return self.refusal

    def answer_lease(self, party: str) -> Lease:
        """Return a lease of `memory`."""
        return self.memory.lease(party)

    async def search_held(self, query: SearchQuery) -> SearchResult:
        """As `search`."""
        return await self.search(query)

    async def search(self, query: SearchQuery) -> SearchResult:
        """Keep the search, and answer as the script says."""
        self.searches.append(query)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def status(self) -> dict[str, Any]:
        """Answer the few known members; for snapshots and indexes what comes next in the script."""
        snapshots = next_of(self.snapshots.statuses) or []
        index = next_of(self.optimiser.indexes)
        collections = [] if index is None else [collection_status("books", index)]
        return {**EMPTY_STATUS, "snapshots": snapshots, "collections": collections}

    async def metrics_text(self, form: TextFormat, keys: Sequence[Mapping[str, Any]]) -> bytes:
        """Name the format, and the keys."""
        return f"{form.name} {[key['name'] for key in keys]}\n".encode()

    def count_unread(self, caller: str, error: BaseException) -> None:
        """Keep who it was, and why."""
        self.unread.append((caller, error))

    def callers(self) -> dict[str, dict[str, int]]:
        """Say that no searches are under way."""
        return {}

    def coverage_curve(self, collection: str, deadline_ms: float) -> dict[str, Any]:
        """Return the curve of eight shards of which one is always a little late, or raise."""
        if self.collections.error is not None:
            raise self.collections.error
        return {"name": collection, **coverage_report(make_curve(), deadline_ms)}

    async def set_breaker_everywhere(self, shard: int, state: str) -> None:
        """Keep the state."""
        self.breakers[shard] = state
