"""The answer to a search."""

from typing import Annotated, Any, Literal

import msgspec

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.shapes.doc import doc


class Hit(msgspec.Struct, frozen=True, gc=False):
    """One document found."""

    id: str
    score: float
    shard: int
    fields: Annotated[dict[str, Any] | None, doc("null: not asked for, or not fetched.")]


class TotalHits(msgspec.Struct, frozen=True, gc=False):
    """How many documents match: exactly (eq) or at least (gte)."""

    value: int
    relation: Literal["eq", "gte"]


class Coverage(msgspec.Struct, frozen=True, gc=False):
    """The share of the documents that the answer reflects."""

    fraction: Annotated[float, doc("Documents searched of documents there are, from 0 to 1.")]
    documents: Annotated[int, doc("Documents searched.")]
    documents_total: Annotated[int, doc("Documents in the collection.")]
    is_full: Annotated[bool, doc("Whether every shard is ok; if not, the answer is partial.")]
    degraded: Annotated[dict[str, int], doc("Outcome to number of shards that ended so.")]


class ShardDetail(msgspec.Struct, frozen=True, gc=False):
    """How one shard's part went; times in µs, 0 where the reply did not come."""

    shard: int
    outcome: Outcome
    reason: str = ""
    worker: str = ""
    lane: str = ""
    queue_us: Annotated[int, doc("Time in the shard's queue in Redis.")] = 0
    lane_us: Annotated[int, doc("Wait for a free place in the worker's lane.")] = 0
    work_us: Annotated[int, doc("Retrieval and scoring.")] = 0
    took_us: Annotated[int, doc("From sending to the reply, as the gateway saw it.")] = 0
    breaker: str = ""
    hedged_us: Annotated[int, doc("From sending to the second copy; 0 when none was sent.")] = 0
    is_hedge: Annotated[bool, doc("Whether the second copy was the one that answered.")] = False


class Shards(msgspec.Struct, frozen=True, gc=False):
    """How many shards ended how; the counts sum to `total`."""

    total: int
    ok: int
    timed_out: int
    failed: int
    unavailable: int
    breaker_open: int
    shed: int
    cancelled: int
    detail: Annotated[list[ShardDetail], doc("Those that are not ok; with `explain`, all of them.")]


class FetchProblem(msgspec.Struct, frozen=True, gc=False):
    """Why a part of the hits lacks fields, or is not enriched."""

    shard: int
    reason: str


class Fetch(msgspec.Struct, frozen=True, gc=False):
    """How the hits' fields were read."""

    fetched: Annotated[int, doc("Hits whose fields were read.")]
    missing: Annotated[int, doc("Hits whose fields are null although they were requested.")]
    left_out: Annotated[
        int, doc("Those of them that were left out because a limit on bytes was reached.")
    ] = 0
    problems: list[FetchProblem] = []


class SearchAnswer(msgspec.Struct, frozen=True, gc=False):
    """The answer to a search, whole or partial; `coverage` says which."""

    hits: list[Hit]
    total_hits: TotalHits
    coverage: Coverage
    shards: Shards
    fetch: Annotated[Fetch | None, doc("null when no fields were asked for.")]
    warnings: Annotated[list[str], doc("What the lenient parser repaired in the query.")]
    took_ms: Annotated[float, doc("Time in the gateway, in ms.")]
    deadline_ms: Annotated[float, doc("That of the query, in ms.")]
