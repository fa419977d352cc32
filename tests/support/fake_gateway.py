"""A gateway that answers from a script, to test client, commands and HTTP without a cluster."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from hedgerow.common.collection import Collection, define
from hedgerow.common.errors import NotFoundError, OverloadedError
from hedgerow.common.metrics.exposition import TextFormat
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.access.caller import Caller
from hedgerow.gateway.access.request_admission import RequestAdmission
from hedgerow.gateway.client import SearchAnswer
from hedgerow.gateway.live.changes import Cluster
from hedgerow.gateway.live.history import Totals
from hedgerow.gateway.live.journal import Journal
from hedgerow.gateway.live.live import Live, Sources
from hedgerow.gateway.search.coverage.curve import CoverageCurve
from hedgerow.gateway.search.coverage.measurement import coverage_of
from hedgerow.gateway.search.coverage.report import coverage_report
from hedgerow.gateway.search.documents.answer_memory import AnswerMemory, Lease
from hedgerow.gateway.search.documents.fetch import StoredDocument
from hedgerow.gateway.search.result import Hit, SearchQuery, SearchResult
from hedgerow.gateway.search.tally import SearchTally
from hedgerow.gateway.shapes.alias import AliasChange
from hedgerow.gateway.shapes.answer import Fetch, ShardDetail, TotalHits
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryAnswer, DeleteByQueryBody
from hedgerow.gateway.shapes.expiry import ExpiryAnswer
from hedgerow.gateway.shapes.reindex import ReindexAnswer, ReindexBody, ReindexReport
from hedgerow.gateway.shapes.synonyms import SynonymsAnswer, SynonymsBody
from hedgerow.gateway.views.json_bytes import encode
from hedgerow.gateway.writes.collection_list import ListedCollection
from hedgerow.gateway.writes.conditional_writes import Origin
from hedgerow.gateway.writes.load import LoadReport

T = TypeVar("T")


def make_result(**changes: Any) -> SearchResult:
    """A typical search's result: 8 shards, one of them late."""
    values: dict[str, Any] = {
        "hits": [
            Hit("184", 12.31, 3, {"title": "scale models for thermo-aeroelastic research"}),
            Hit("29", 11.5, 1, {"title": "a simple model study of transient temperature"}),
        ],
        "total_hits": TotalHits(812, "gte"),
        "coverage": coverage_of(19_600, 22_400, {"timed_out": 1}),
        "outcomes": {Outcome.OK: 7, Outcome.TIMED_OUT: 1},
        "detail": [
            ShardDetail(5, Outcome.TIMED_OUT, "no reply", took_us=300_120, breaker="closed")
        ],
        "took_ms": 300.4,
        "deadline_ms": 300,
        "fetch": Fetch(2, 0),
    }
    return SearchResult(**{**values, **changes})


def make_curve() -> CoverageCurve:
    """The curve of eight shards, of which one always needs 310 ms and the others 10 to 70."""
    curve = CoverageCurve()
    for needed_ms in (10, 20, 30, 40, 50, 60, 70, 310):
        curve.add(needed_ms / 1000, 1 / 8, 0.0)
    return curve


def as_answer(result: SearchResult) -> SearchAnswer:
    """A result as a client has it."""
    return msgspec.json.decode(msgspec.json.encode(result.to_json()), type=SearchAnswer)


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


class FakeCollections:
    """Collections in a dict."""

    def __init__(self, aliases: "FakeAliases") -> None:
        self.aliases = aliases
        self.defined: dict[str, dict[str, Any]] = {}
        self.error: Exception | None = None

    async def put(self, name: str, body: dict[str, Any]) -> object:
        """Define one, or raise `error`."""
        if self.error is not None:
            raise self.error
        self.defined[name] = body
        return body

    async def add_fields(self, name: str, body: dict[str, Any]) -> object:
        """Add fields to one, or raise `error`."""
        if self.error is not None:
            raise self.error
        self.defined[name].setdefault("fields", {}).update(body.get("fields", {}))
        return body

    async def drop(self, name: str) -> None:
        """Forget one, or raise `error`."""
        if self.error is not None:
            raise self.error
        del self.defined[name]

    def get(self, name: str) -> Collection:
        """Return the definition; a collection that was never defined has no fields yet."""
        return define(name, self.defined.get(name, {}), uid="u")

    async def describe(self, name: str) -> dict[str, Any]:
        """Describe one, or raise `error`."""
        if self.error is not None:
            raise self.error
        return {
            "name": name,
            "fields": self.defined[name].get("fields"),
            "rank_profile": "bm25",
            "rank_profiles": ["bm25", "noop"],
            "language": "english",
            "inferred": [],
            "folding": True,
            "documents": 3,
            "shards": [{"shard": 0, "documents": 1}, {"shard": 1, "documents": 2}],
            "filling": None,
        }

    def real_name(self, name: str) -> str:
        """Return what an alias stands for."""
        return self.aliases.there.get(name, name)

    async def list(self) -> list[ListedCollection]:
        """Describe all, with the JSON cut somewhere."""
        found = [(name, encode(await self.describe(name))) for name in self.defined]
        return [ListedCollection(name, body[:9], body[9:]) for name, body in found]


class FakeAliases:
    """Aliases in a dict."""

    def __init__(self) -> None:
        self.there: dict[str, str] = {}
        self.error: Exception | None = None

    async def refresh(self) -> dict[str, str]:
        """Return all, or raise `error`."""
        if self.error is not None:
            raise self.error
        return self.there

    def known(self) -> dict[str, str]:
        """Return all."""
        return self.there

    async def stored(self, name: str) -> str | None:
        """Return what an alias stands for."""
        return self.there.get(name)

    async def change(self, changes: list[AliasChange]) -> None:
        """Make changes, or raise `error`."""
        if self.error is not None:
            raise self.error
        for change in changes:
            if change.collection is None:
                del self.there[change.alias]
            else:
                self.there[change.alias] = change.collection


class FakeDocuments:
    """Takes loads in, and keeps what it was given."""

    def __init__(self) -> None:
        self.loads: list[tuple[str, str, list[bytes]]] = []
        self.puts: list[tuple[str, str, Any, Any]] = []
        self.deleted: list[tuple[str, str, str]] = []
        self.error: Exception | None = None
        self.report = LoadReport(accepted=2, is_applied=True)

    async def load(
        self,
        collection: str,
        lines: AsyncIterator[bytes],
        wait: Any,
        *,
        party: str,
        traceparent: str,
    ) -> LoadReport:
        """Keep the load, or raise `error`."""
        chunks = [chunk async for chunk in lines if chunk]
        if self.error is not None:
            raise self.error
        self.loads.append((collection, wait, chunks))
        return self.report

    async def put(
        self,
        collection: str,
        document_id: str,
        body: AsyncIterator[bytes],
        wait: Any,
        *,
        party: str,
        traceparent: str,
    ) -> LoadReport:
        """Keep the document, or raise `error`."""
        document = b"".join([chunk async for chunk in body])
        if self.error is not None:
            raise self.error
        self.puts.append((collection, document_id, wait, json.loads(document)))
        return LoadReport(1, is_applied=wait == "applied")

    async def delete(
        self, collection: str, document_id: str, wait: Any, *, traceparent: str
    ) -> None:
        """Keep what was deleted, or raise `error`."""
        if self.error is not None:
            raise self.error
        self.deleted.append((collection, document_id, wait))


class FakeConditionalWrites:
    """Keeps what it was given, as the documents' writes with a condition."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, str, str, Any, str, str | None, str | None]] = []
        self.error: Exception | None = None

    async def put(
        self,
        collection: str,
        document_id: str,
        body: AsyncIterator[bytes],
        if_version: str,
        wait: Any,
        *,
        request_id: str | None,
        origin: Origin,
    ) -> LoadReport:
        """Keep the document, or raise `error`."""
        document = json.loads(b"".join([chunk async for chunk in body]))
        return self._keep("put", collection, document_id, document, wait, if_version, request_id)

    async def patch(
        self,
        collection: str,
        document_id: str,
        body: bytes,
        wait: Any,
        *,
        if_version: str | None,
        request_id: str | None,
        origin: Origin,
    ) -> LoadReport:
        """Keep the changes, or raise `error`."""
        changes = json.loads(body)
        return self._keep("patch", collection, document_id, changes, wait, if_version, request_id)

    async def delete(
        self,
        collection: str,
        document_id: str,
        if_version: str,
        wait: Any,
        *,
        request_id: str | None,
        origin: Origin,
    ) -> None:
        """Keep what was deleted, or raise `error`."""
        self._keep("delete", collection, document_id, None, wait, if_version, request_id)

    def _keep(self, *write: Any) -> LoadReport:
        if self.error is not None:
            raise self.error
        self.writes.append(write)
        return LoadReport(1, is_applied=True, version="v" * 16)


class FakeDeleteByQuery:
    """Answers by a script; the last answer stays."""

    def __init__(self) -> None:
        self.answers = [
            DeleteByQueryAnswer(
                found=TotalHits(3, "eq"),
                deleted=3,
                complete=True,
                reason=None,
                missing_shards=[],
                dry_run=False,
                warnings=[],
            )
        ]
        self.asked: list[tuple[str, DeleteByQueryBody]] = []

    async def run(
        self,
        collection: str,
        body: DeleteByQueryBody,
        *,
        caller: Caller,
        peer: str,
        traceparent: str,
    ) -> DeleteByQueryAnswer:
        """Keep what was asked."""
        self.asked.append((collection, body))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class FakeExpiry:
    """Fields in a dict."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}

    async def set_field(self, collection: str, field: str) -> ExpiryAnswer:
        """Keep the field."""
        self.fields[collection] = field
        return ExpiryAnswer(field)

    async def get(self, collection: str) -> ExpiryAnswer:
        """Return the field."""
        return ExpiryAnswer(self.fields.get(collection))

    async def remove(self, collection: str) -> None:
        """Forget the field."""
        self.fields.pop(collection, None)


class FakeSynonyms:
    """Synonyms in a dict."""

    def __init__(self) -> None:
        self.bodies: dict[str, SynonymsBody] = {}

    async def get(self, name: str) -> SynonymsAnswer:
        """Return what was put last."""
        body = self.bodies.get(name, SynonymsBody())
        return SynonymsAnswer(len(self.bodies), body.groups, body.one_way)

    async def put(self, name: str, body: SynonymsBody) -> SynonymsAnswer:
        """Keep them."""
        self.bodies[name] = body
        return await self.get(name)

    async def remove(self, name: str) -> None:
        """Forget them."""
        self.bodies.pop(name, None)


class FakeReader:
    """Has one document, which may be an error to raise."""

    def __init__(self) -> None:
        self.document: dict[str, Any] | Exception = {"id": "a/b", "title": "t"}

    async def stored(
        self, collection: str, document_id: str, deadline_ms: float, *, party: str
    ) -> StoredDocument:
        """Return the document with what was asked."""
        if isinstance(self.document, Exception):
            raise self.document
        asked = {**self.document, "asked": [collection, document_id, deadline_ms]}
        return StoredDocument(json.dumps(asked).encode(), AnswerMemory(0).lease(party))

    def shown(self, _collection: str, body: bytes) -> bytes:
        """Show a document as it is stored."""
        return body


class FakeSnapshots:
    """Takes requests for snapshots, which the status then shows as the script says."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.statuses: list[list[dict[str, Any]]] = []
        self.num_asked = 0

    async def create(self) -> dict[str, Any]:
        """Take a request, or raise `error`."""
        if self.error is not None:
            raise self.error
        self.num_asked += 1
        return {"wanted_at_ms": 1000, "shards": 2}


class FakeOptimiser:
    """Takes requests to optimise; the status then shows each index of the script in turn."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.indexes: list[dict[str, Any]] = []
        self.asked: list[str] = []

    async def ask(self, name: str) -> dict[str, Any]:
        """Take a request, or raise `error`."""
        if self.error is not None:
            raise self.error
        self.asked.append(name)
        return {"wanted_at_ms": 1000}


class FakeQuarantine:
    """Entries in a list."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.error: Exception | None = None

    async def list(self) -> list[dict[str, Any]]:
        """Show all, or raise `error`."""
        if self.error is not None:
            raise self.error
        return self.entries

    async def lift(self, fingerprint: str) -> None:
        """Remove one."""
        kept = [entry for entry in self.entries if entry["fingerprint"] != fingerprint]
        if kept == self.entries:
            raise NotFoundError(f"there is no query {fingerprint!r} in quarantine")
        self.entries = kept


class FakePlacement:
    """Two workers, of which one may drain.

    Attributes:
        draining: the workers that drain.
        held: how many shards w-b still owns; 1 fewer each time that it is asked while it drains.
        is_stuck: whether no other worker can take them over.
        split: the split in progress.
    """

    def __init__(self) -> None:
        self.draining: set[str] = set()
        self.held = 2
        self.is_stuck = False
        self.split: dict[str, Any] | None = None
        self.has_rebalanced = False

    async def describe(self) -> dict[str, Any]:
        """Shards 0 and 1 on w-a, the others on w-b until it has drained."""
        rest = list(range(2, 2 + self.held))
        answer = {
            "version": 7,
            "replicas": 1,
            "computed_at_ms": 5,
            "is_settled": self.is_stuck or not self.draining or not rest,
            "workers": [self._worker("w-a", 2), self._worker("w-b", self.held)],
            "shards": [
                {
                    "shard": shard,
                    "owners": ["w-b" if shard in rest else "w-a"],
                    "joining": [],
                    "serving": ["w-b" if shard in rest else "w-a"],
                    "pinned": False,
                }
                for shard in range(4)
            ],
            "moves": [
                {"shard": shard, "worker": "w-a", "replaces": "w-b", "state": "waiting"}
                for shard in rest
                if self.draining
            ],
            "split": self.split,
        }
        if "w-b" in self.draining and not self.is_stuck:
            self.held = max(0, self.held - 1)
        return answer

    def _worker(self, worker: str, owns: int) -> dict[str, Any]:
        is_draining = worker in self.draining
        return {
            "id": worker,
            "host": "h",
            "zone": "z",
            "capacity": 1.0,
            "live": True,
            "lost_for_s": None,
            "draining": is_draining,
            "drained": is_draining and not owns,
            "owns": owns,
            "joining": 0,
            "serves": owns,
            "version": 7,
        }

    async def drain(self, worker: str) -> None:
        """Remember it."""
        if worker not in {"w-a", "w-b"}:
            raise NotFoundError(f"there is no worker {worker!r}")
        self.draining.add(worker)

    async def cancel_drain(self, worker: str) -> None:
        """Forget it."""
        if worker not in self.draining:
            raise NotFoundError(f"the worker {worker!r} is not draining")
        self.draining.remove(worker)

    async def rebalance(self) -> dict[str, Any]:
        """Remember it."""
        self.has_rebalanced = True
        return {"replaced": ["w-c"]}


class FakeReloader:
    """Reloads as the script says."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def reload(self) -> dict[str, Any]:
        """Say what there is now, or raise `error`."""
        if self.error is not None:
            raise self.error
        return {"rank_profiles": ["bm25", "noop", "popular"], "workers": ["worker-0"]}


def collection_status(name: str, index: dict[str, Any]) -> dict[str, Any]:
    """A collection as the status shows it."""
    return {
        "name": name,
        "documents": 3,
        "statistics": {"shards": 2, "changes_behind": 0, "is_current": True, "is_spread": True},
        "index": index,
        "coverage_curve": coverage_report(make_curve(), 300.0, is_brief=True),
    }


def _next(script: list[T]) -> T | None:
    """What comes next in a script; the last of it stays."""
    return script.pop(0) if len(script) > 1 else next(iter(script), None)


def running_split(state: str | None) -> dict[str, Any]:
    """A split from 4 to 8 shards."""
    return {
        "from_shards": 4,
        "to_shards": 8,
        "state": state,
        "running_s": 1.0,
        "copied_shards": 3,
        "waits_for": "the copies",
        "fell_back": None,
    }


class FakeSplits:
    """A split that is done when it has been asked about as often as it has states."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.num_shards = 4
        self.error: str | None = None
        self.refusal: Exception | None = None

    async def describe(self) -> dict[str, Any]:
        """The next state."""
        state = self.states.pop(0) if self.states else None
        running = running_split(state)
        last = {
            "from_shards": 4,
            "to_shards": 8,
            "took_s": 2.5,
            "writes_held_s": 0.5,
            "ended_at_ms": 7,
            "error": self.error,
        }
        return {
            "version": 3,
            "num_shards": self.num_shards,
            "split": running if state else None,
            "last_split": None if state or (self.num_shards == 4 and not self.error) else last,
        }

    async def begin(self) -> dict[str, Any]:
        """Begin, unless it is refused."""
        if self.refusal is not None:
            raise self.refusal
        self.states, self.num_shards = ["copying", "sealed"], 8
        return await self.describe()

    async def cancel(self) -> dict[str, Any]:
        """Give up, unless it is refused."""
        if self.refusal is not None:
            raise self.refusal
        self.states, self.error = ["abandoning"], "it was cancelled"
        return await self.describe()


class FakeReindexes:
    """A reindex that goes on to its next state each time that it is asked about.

    Attributes:
        states: those that are to come; the last stays.
        changes: members of the report that are not as by default.
        begun: the bodies that it was begun with.
    """

    def __init__(self) -> None:
        self.states: list[str] = []
        self.changes: dict[str, Any] = {}
        self.begun: list[ReindexBody] = []
        self.refusal: Exception | None = None

    async def describe(self) -> ReindexAnswer:
        """The next state."""
        state = _next(self.states)
        if state is None:
            return ReindexAnswer(None)
        members: dict[str, Any] = {
            "old": "shop-1",
            "new": "shop-2",
            "alias": "shop",
            "skip_faulty": False,
            "state": state,
            "running_s": 2.5,
            "documents": 1200,
            "copied": 1000,
            "faulty": 0,
            "first_faulty": [],
            "copied_shards": 1,
            "num_shards": 4,
            "waits_for": "",
            "is_stopped": False,
            "switched_at_ms": None,
            "ended_at_ms": None,
            "error": None,
        }
        return ReindexAnswer(ReindexReport(**(members | self.changes)))

    async def begin(self, body: ReindexBody) -> ReindexAnswer:
        """Begin, unless it is refused."""
        if self.refusal is not None:
            raise self.refusal
        self.begun.append(body)
        self.states = self.states or ["copying", "switching", "switched"]
        return await self.describe()

    async def end(self, *, after_switch: bool) -> ReindexAnswer:
        """Give up, unless it is refused."""
        if self.refusal is not None:
            raise self.refusal
        self.states = ["ending", "ended"] if after_switch else ["cancelling", "cancelled"]
        return await self.describe()


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
        snapshots = _next(self.snapshots.statuses) or []
        index = _next(self.optimiser.indexes)
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
