"""The answer to a search."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.shapes.doc import doc
from hedgerow.gateway.shapes.facets import FacetAnswer, FieldValue
from hedgerow.gateway.shapes.sorting import NextPage


class LegHit(msgspec.Struct, frozen=True, gc=False):
    """A hit's place in one leg of a hybrid search."""

    rank: Annotated[int, doc("From 1, over all shards.")]
    score: float


class Hit(msgspec.Struct, frozen=True, gc=False):
    """A document that was found."""

    id: str
    score: float
    shard: int
    fields: Annotated[dict[str, Any] | None, doc("null: not requested, or not fetched.")]
    sort: Annotated[
        tuple[FieldValue, ...] | UnsetType,
        doc("With `sort`: the values by which the hit was ordered."),
    ] = UNSET
    group: Annotated[
        FieldValue | UnsetType,
        doc("With `group_by`: the value that only this hit has; null for documents without one."),
    ] = UNSET
    legs: Annotated[
        dict[str, LegHit] | UnsetType,
        doc("With `hybrid`: the hit's place in each leg that found it, by the leg's name."),
    ] = UNSET
    highlights: Annotated[
        dict[str, tuple[str, ...]] | UnsetType,
        doc(
            "With `highlight`: field to snippets of what matched, for fields with a match; absent "
            "if the document was not fetched."
        ),
    ] = UNSET


class TotalHits(msgspec.Struct, frozen=True, gc=False):
    """How many documents match: exactly (eq) or at least (gte)."""

    value: int
    relation: Literal["eq", "gte"]


class Coverage(msgspec.Struct, frozen=True, gc=False):
    """The share of the documents that the answer reflects."""

    fraction: Annotated[
        float, doc("Share of the collection's documents that was searched, from 0 to 1.")
    ]
    documents: Annotated[int, doc("Documents searched.")]
    documents_total: Annotated[int, doc("Documents in the collection, as far as is known.")]
    is_full: Annotated[
        bool, doc("Whether every shard is ok or skipped; if not, the answer is partial.")
    ]
    degraded: Annotated[dict[str, int], doc("Outcome to number of shards.")]
    exact: Annotated[
        Literal[True] | UnsetType,
        doc(
            "Only of a partial answer, if its hits are those that it would have with every shard: "
            "no document of the shards that are missing can be among them. It says nothing of "
            "`total_hits` and facets."
        ),
    ] = UNSET
    bound: Annotated[
        FieldValue | UnsetType,
        doc(
            "With `exact`: the best value of the first sort key, or the highest score if hits are "
            "in the order of their scores, that a document of the missing shards can have; absent "
            "if none of them can match."
        ),
    ] = UNSET


class ShardDetail(msgspec.Struct, frozen=True, gc=False):
    """How one shard's part ended; times in µs, 0 if no reply arrived."""

    shard: int
    outcome: Outcome
    reason: str = ""
    worker: str = ""
    lane: str = ""
    queue_us: Annotated[int, doc("Time in the shard's queue in Redis.")] = 0
    lane_us: Annotated[int, doc("Wait for a free place in the worker's lane.")] = 0
    work_us: Annotated[int, doc("Retrieval and scoring.")] = 0
    took_us: Annotated[int, doc("From sending to the reply, measured by the gateway.")] = 0
    breaker: str = ""
    hedged_us: Annotated[int, doc("From sending to the second copy; 0 if none was sent.")] = 0
    is_hedge: Annotated[bool, doc("Whether the second copy answered.")] = False


class Shards(msgspec.Struct, frozen=True, gc=False):
    """Number of shards by outcome; the counts sum to `total`."""

    total: int
    ok: int
    timed_out: int
    failed: int
    unavailable: int
    breaker_open: int
    cancelled: int
    skipped: Annotated[int, doc("Shards that have no match, so they were not asked.")] = 0
    detail: Annotated[
        list[ShardDetail], doc("Shards that were not searched; with `explain`, all shards.")
    ] = []


class Leg(msgspec.Struct, frozen=True, gc=False):
    """How one leg of a hybrid search has ended."""

    coverage: Annotated[Coverage, doc("What this leg has searched.")]
    shards: Annotated[Shards, doc("How the shards' parts of this leg ended.")]
    total_hits: Annotated[TotalHits, doc("Documents that match in this leg.")]
    candidates: Annotated[int, doc("Hits of this leg that are in the fusion.")]
    took_ms: Annotated[float, doc("From the start of the search to the end of this leg, in ms.")]
    embed_ms: Annotated[
        float | UnsetType,
        doc("The part of `took_ms` until the query's text was a vector; absent if it came as one."),
    ] = UNSET
    left_out: Annotated[
        str | UnsetType, doc("Why nothing of this leg is in the answer; absent if it is.")
    ] = UNSET


class FetchProblem(msgspec.Struct, frozen=True, gc=False):
    """Why some hits lack fields, or are not enriched."""

    shard: int
    reason: str


class Fetch(msgspec.Struct, frozen=True, gc=False):
    """How the hits' fields were read."""

    fetched: Annotated[int, doc("Hits whose fields were read.")]
    missing: Annotated[int, doc("Hits whose fields are null although they were requested.")]
    left_out: Annotated[
        int, doc("Hits among `missing` that were left out because a limit on bytes was reached.")
    ] = 0
    problems: list[FetchProblem] = []


class SearchAnswer(msgspec.Struct, frozen=True, gc=False):
    """The answer to a search, complete or partial; `coverage` says which."""

    hits: list[Hit]
    total_hits: TotalHits
    coverage: Coverage
    shards: Shards
    fetch: Annotated[Fetch | None, doc("null if no fields or highlights were requested.")]
    warnings: Annotated[
        list[str],
        doc(
            "What the lenient parser repaired, which fields are unknown, and why parts of the "
            "query find nothing."
        ),
    ]
    took_ms: Annotated[float, doc("Time in the gateway, in ms.")]
    deadline_ms: Annotated[float, doc("The query's deadline, in ms.")]
    trace_id: Annotated[str | None, doc("The search's trace; null while tracing is off.")] = None
    facets: Annotated[
        dict[str, FacetAnswer] | UnsetType, doc("With `facets`: the counts, by field.")
    ] = UNSET
    next_page: Annotated[
        NextPage | UnsetType, doc("With `search_after`: where the next page begins.")
    ] = UNSET
    legs: Annotated[
        dict[str, Leg] | UnsetType,
        doc("With `hybrid`: `text`, `vector`, and `second_phase` if the rank profile has one."),
    ] = UNSET
    did_you_mean: Annotated[
        str | UnsetType,
        doc("With `did_you_mean`: the query that finds more; absent if there is none."),
    ] = UNSET
