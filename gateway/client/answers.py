"""What the gateway answers, typed: frozen, by the names of the JSON, as docs/http.md has them.

Members that this version does not know are ignored, so that a gateway may be newer than its
clients. A test holds each type here against the one of that name in the OpenAPI schema.
"""

from typing import Any, Literal

import msgspec

from hedgerow.common.outcome import Outcome


class Hit(msgspec.Struct, frozen=True):
    """One document found.

    Attributes:
        fields: None when none were asked for, or they were not read in time.
    """

    id: str
    score: float
    shard: int
    fields: dict[str, Any] | None


class TotalHits(msgspec.Struct, frozen=True):
    """How many documents match: exactly ("eq") or at least ("gte")."""

    value: int
    relation: Literal["eq", "gte"]


class Coverage(msgspec.Struct, frozen=True):
    """The share of the documents that the answer reflects.

    Attributes:
        fraction: documents searched of documents there are, 0 to 1.
        is_full: whether every shard is ok; if not, the answer is a partial one.
        degraded: outcome → number of shards that ended so, of those that are not ok.
    """

    fraction: float
    documents: int
    documents_total: int
    is_full: bool
    degraded: dict[str, int]


class ShardDetail(msgspec.Struct, frozen=True):
    """How one shard's part of a query went; times in µs, 0 where the reply did not come."""

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


class Shards(msgspec.Struct, frozen=True):
    """How many shards ended how; the counts sum to `total`.

    Attributes:
        detail: the shards that are not ok; with `explain`, all of them.
    """

    total: int
    ok: int
    timed_out: int
    failed: int
    unavailable: int
    breaker_open: int
    shed: int
    cancelled: int
    detail: list[ShardDetail]


class FetchProblem(msgspec.Struct, frozen=True):
    """Why a part of the hits lacks fields, or is not enriched."""

    shard: int
    reason: str


class Fetch(msgspec.Struct, frozen=True):
    """How the hits' fields were read.

    Attributes:
        missing: hits whose fields are None though they were asked for.
        left_out: those of them that were left out since a limit on bytes was reached; 0 from a
            gateway that does not tell.
    """

    fetched: int
    missing: int
    problems: list[FetchProblem]
    left_out: int = 0


class SearchAnswer(msgspec.Struct, frozen=True):
    """The answer to a search, whole or partial; `coverage` says which.

    Attributes:
        fetch: None when no fields were asked for.
        warnings: what the lenient parser repaired in the query.
        took_ms: time in the gateway, in ms.
        deadline_ms: that of the query, in ms.
    """

    hits: list[Hit]
    total_hits: TotalHits
    coverage: Coverage
    shards: Shards
    fetch: Fetch | None
    warnings: list[str]
    took_ms: float
    deadline_ms: float


class RejectedLine(msgspec.Struct, frozen=True):
    """A document that did not go in; `line` counts from 1."""

    line: int
    reason: str


class LoadAnswer(msgspec.Struct, frozen=True):
    """What became of the documents of one load.

    Attributes:
        accepted: documents that are safe.
        rejected: the first 1000 that did not go in.
        rejected_total: all that did not go in.
        applied: whether what was accepted can be found.
        inferred_fields: field → type that the first documents gave the collection; None if it had
            fields before.
    """

    accepted: int
    rejected: list[RejectedLine]
    rejected_total: int
    applied: bool
    inferred_fields: dict[str, str] | None = None


class ShardDocuments(msgspec.Struct, frozen=True):
    """How many documents of a collection one shard holds."""

    shard: int
    documents: int


FieldType = Literal["text", "keyword", "integer", "float", "boolean", "date"]


class WeightedField(msgspec.Struct, frozen=True):
    """A text field whose words count `weight` times where a query names no field."""

    type: Literal["text"]
    weight: int = 1


class CollectionAnswer(msgspec.Struct, frozen=True):
    """A collection.

    Attributes:
        fields: field → type, or type and weight; None until they are inferred from documents.
        rank_profile: that of a search which names none.
        rank_profiles: those that a search may name.
    """

    name: str
    fields: dict[str, FieldType | WeightedField] | None
    rank_profile: str
    rank_profiles: list[str]
    language: str
    documents: int
    shards: list[ShardDocuments]


class CollectionsAnswer(msgspec.Struct, frozen=True):
    """All collections."""

    collections: list[CollectionAnswer]


class CoveragePoint(msgspec.Struct, frozen=True):
    """One point of a curve: the share of the documents that is reached by a deadline, in ms."""

    deadline_ms: float
    coverage: float


class CoverageGain(msgspec.Struct, frozen=True):
    """What `extra_ms` more would have given; the least that would have."""

    extra_ms: float
    coverage: float


class CoverageReport(msgspec.Struct, frozen=True):
    """What coverage a collection's queries reach on average by which deadline.

    Attributes:
        deadline_ms: the deadline that `coverage` and `gain` speak of.
        coverage: None before the first query.
        gain: the most that up to half of the deadline more would have given; None where nothing,
            as far as is known.
        points: the curve, ascending.
    """

    deadline_ms: float
    coverage: float | None
    gain: CoverageGain | None
    points: list[CoveragePoint]


class CurveAnswer(CoverageReport, frozen=True):
    """The curve of one collection, with as many points as there are; in the status a handful."""

    name: str


class SnapshotAnswer(msgspec.Struct, frozen=True):
    """When snapshots were asked for.

    Attributes:
        wanted_at_ms: a shard has its snapshot once `made_at_ms` of its `SnapshotStatus` is not
            before this.
        shards: how many there will be.
    """

    wanted_at_ms: int
    shards: int


class OptimiseAnswer(msgspec.Struct, frozen=True):
    """When the optimising of a collection's text indexes was asked for.

    Attributes:
        wanted_at_ms: it is done once `index` of the collection's `CollectionStatus` shows this
            time, or a later one, and no replica waiting.
    """

    wanted_at_ms: int


class QuarantinedQuery(msgspec.Struct, frozen=True):
    """A query that has killed scorers.

    Attributes:
        fingerprint: what counts as the same query.
        query: its beginning.
        kills: scorers that died under it, in all workers.
        refused: whether it has killed enough to be refused.
        until_ms: when it is forgotten, in ms since 1970 by Redis's clock.
        workers: whose scorers died.
    """

    fingerprint: str
    query: str
    kills: int
    refused: bool
    until_ms: int
    workers: list[str]


class QuarantineAnswer(msgspec.Struct, frozen=True):
    """The queries that have killed scorers."""

    quarantine: list[QuarantinedQuery]
