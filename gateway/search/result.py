"""A search as it is asked and as it is answered; the field names are those of the JSON."""

from typing import Any, Final, Literal

import msgspec
from pydantic_core import from_json

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.access.caller import ANONYMOUS, Caller
from hedgerow.gateway.search.answer_memory import Lease

_NO_SHARDS: Final = dict.fromkeys(Outcome, 0)


class SearchQuery(msgspec.Struct, frozen=True, gc=False):
    """A search, validated.

    Attributes:
        collection: name of the collection.
        query: the query text, in tantivy's query language.
        k: how many hits are wanted.
        deadline_ms: time from now within which the answer must leave, in ms.
        rank_profile: name of a configured profile; None for the collection's own.
        filter: a query that hits must match without it counting in their score, or "".
        fields: names of the fields wanted in each hit; True for all, False for none.
        minimum_coverage: least share of the documents that an answer must reflect, 0 to 1.
        wait_for: share of the documents that is enough, above 0 to 1: once it is covered, the rest
            is waited for only a part of the time left.
        explain: whether every shard is detailed in the result, or only those not ok.
        syntax: whether a syntax error is repaired ("lenient") or refused ("strict").
        priority: "batch" is refused first when there is too much to do.
        caller: on whose behalf it is asked; what is in flight is shared between callers.
        peer: the address it is asked from, which tells callers without a key apart.
    """

    collection: str
    query: str
    k: int = 10
    deadline_ms: float = 300.0
    rank_profile: str | None = None
    filter: str = ""
    fields: tuple[str, ...] | bool = True
    minimum_coverage: float = 0.0
    wait_for: float = 1.0
    explain: bool = False
    syntax: Literal["lenient", "strict"] = "lenient"
    priority: Literal["interactive", "batch"] = "interactive"
    caller: Caller = ANONYMOUS
    peer: str = ""


class Hit(msgspec.Struct, gc=False, rename={"stored": "fields"}):
    """One document found.

    Attributes:
        stored: the document as its shard sent it, as JSON, which goes into an answer as it is; or
            decoded, once `fields` was asked for.
    """

    id: str
    score: float
    shard: int
    stored: msgspec.Raw | dict[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any] | None:
        """The document's fields; None when none were asked for, or they could not be fetched.

        They are decoded when this is first asked for.
        """
        stored = self.stored
        if isinstance(stored, msgspec.Raw):
            decoded: dict[str, Any] = from_json(bytes(stored))
            self.stored = decoded
            return decoded
        return stored


class TotalHits(msgspec.Struct, frozen=True, gc=False):
    """How many documents match: exactly ("eq") or at least ("gte")."""

    value: int
    relation: Literal["eq", "gte"]


class Coverage(msgspec.Struct, frozen=True, gc=False):
    """The share of the documents that the answer reflects, with the reasons for the rest.

    Attributes:
        documents: documents searched.
        documents_total: documents in the collection.
        degraded: outcome → number of shards that ended so, for those that are not ok; those that
            were cancelled since enough was there count as `enough`.
    """

    documents: int
    documents_total: int
    degraded: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether every shard was searched."""
        return not self.degraded

    @property
    def fraction(self) -> float:
        """Documents searched of documents there are; of an empty collection, the shards' share."""
        if self.documents_total:
            return self.documents / self.documents_total
        return 1.0 if self.is_full else 0.0


class ShardDetail(msgspec.Struct, frozen=True, gc=False):
    """How one shard's part went; times in µs, 0 where the reply did not come."""

    shard: int
    outcome: Outcome
    reason: str = ""
    worker: str = ""
    lane: str = ""
    queue_us: int = 0
    lane_us: int = 0
    work_us: int = 0
    took_us: int = 0
    breaker: str = ""
    hedged_us: int = 0
    is_hedge: bool = False


class FetchReport(msgspec.Struct, frozen=True, gc=False):
    """How the winners' documents were read.

    Attributes:
        fetched: hits whose fields were read.
        missing: hits whose fields are null though they were asked for.
        left_out: those of them that were read and left out, since a limit on bytes was reached.
        problems: (shard, reason) of each part that failed, was late, or was not enriched.
    """

    fetched: int
    missing: int
    problems: tuple[tuple[int, str], ...] = ()
    left_out: int = 0


class SearchResult(msgspec.Struct, frozen=True, gc=False):
    """The answer to one search.

    Attributes:
        outcomes: outcome → number of shards, every outcome named; sums to the fan-out.
        detail: the shards that are not ok; with `explain`, all of them.
        fetch: None when no fields were asked for.
        warnings: what a lenient parser repaired in the query.
        lease: what the hits' documents count as held in the gateway, for as long as it is kept.
    """

    hits: list[Hit]
    total_hits: TotalHits
    coverage: Coverage
    outcomes: dict[Outcome, int]
    detail: list[ShardDetail]
    took_ms: float
    deadline_ms: float
    fetch: FetchReport | None = None
    warnings: tuple[str, ...] = ()
    lease: Lease | None = None

    def to_json(self) -> dict[str, Any]:
        """The body of the HTTP answer, as docs/http.md describes it; decodes the documents."""
        for hit in self.hits:
            _ = hit.fields
        body: dict[str, Any] = msgspec.to_builtins(self.body())
        return body

    def body(self) -> dict[str, Any]:
        """`to_json` with its structs left whole: msgspec encodes them as they are.

        That takes 3 µs an answer, where making them dicts and encoding those took 9.
        """
        coverage = self.coverage
        return {
            "hits": self.hits,
            "total_hits": self.total_hits,
            "coverage": {
                "fraction": round(coverage.fraction, 6),
                "documents": coverage.documents,
                "documents_total": coverage.documents_total,
                "is_full": coverage.is_full,
                "degraded": coverage.degraded,
            },
            "shards": {
                "total": sum(self.outcomes.values()),
                **_NO_SHARDS,
                **self.outcomes,
                "detail": self.detail,
            },
            "fetch": None if self.fetch is None else _fetch_json(self.fetch),
            "warnings": list(self.warnings),
            "took_ms": round(self.took_ms, 3),
            "deadline_ms": self.deadline_ms,
        }


def _fetch_json(fetch: FetchReport) -> dict[str, Any]:
    return {
        "fetched": fetch.fetched,
        "missing": fetch.missing,
        "left_out": fetch.left_out,
        "problems": [{"shard": shard, "reason": reason} for shard, reason in fetch.problems],
    }
