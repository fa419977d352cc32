"""A query with its caller, and its answer before it is encoded."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from pydantic_core import from_json

from hedgerow.common.outcome import Outcome
from hedgerow.common.wire.search_options import Candidate, LikeTerms, Slip
from hedgerow.gateway.access.caller import ANONYMOUS, Caller
from hedgerow.gateway.search.documents.answer_memory import Lease
from hedgerow.gateway.shapes.answer import (
    Coverage,
    Fetch,
    Leg,
    LegHit,
    SearchAnswer,
    ShardDetail,
    Shards,
    TotalHits,
)
from hedgerow.gateway.shapes.answer import Hit as AnsweredHit
from hedgerow.gateway.shapes.facets import FacetAnswer, FieldValue
from hedgerow.gateway.shapes.search import Search
from hedgerow.gateway.shapes.sorting import NextPage
from hedgerow.gateway.views.json_bytes import to_builtins

_NO_SHARDS: Final = dict.fromkeys(Outcome, 0)  # in the order of the members of `Shards`


class SearchQuery(Search, frozen=True, gc=False):
    """A search and its caller.

    Attributes:
        caller: the caller; callers share the limit on queries in flight.
        peer: the caller's address, which tells callers without a key apart.
        traceparent: the caller's trace, as W3C Trace Context has it; "" for none.
        candidates: what the rank profile's second phase is to score, instead of what it finds.
        terms: words to search for instead of a query, as they are in the index; None for none.
    """

    caller: Caller = ANONYMOUS
    peer: str = ""
    traceparent: str = ""
    candidates: tuple[Candidate, ...] = ()
    terms: LikeTerms | None = None

    @property
    def reads_documents(self) -> bool:
        """Whether the hits' documents are read, for their fields or their highlights."""
        return self.fields is not False or bool(self.highlight)

    @property
    def read_fields(self) -> list[str] | None:
        """The fields of the documents that are read; None for all."""
        return None if self.fields is True else list(self.fields or ())

    @property
    def num_ranked(self) -> int:
        """How many hits are ranked: those that are left out at the beginning, and the `k` after."""
        return self.offset + self.k


class Hit(msgspec.Struct, gc=False, rename={"stored": "fields", "marked": "highlights"}):
    """One document found; it is encoded like a `shapes.answer.Hit`.

    Attributes:
        stored: the document as JSON, as its shard sent it and as it goes into an answer; decoded
            after `fields` was read.
        marked: the highlights as JSON, as the shard sent them; UNSET without any.
    """

    id: str
    score: float
    shard: int
    stored: msgspec.Raw | dict[str, Any] | None = None
    sort: tuple[FieldValue, ...] | UnsetType = UNSET
    group: FieldValue | UnsetType = UNSET
    legs: dict[str, LegHit] | UnsetType = UNSET
    marked: msgspec.Raw | UnsetType = UNSET

    @property
    def highlights(self) -> dict[str, list[str]] | UnsetType:
        """Field → snippets; UNSET if none were requested, or the document was not fetched."""
        marked = self.marked
        return UNSET if isinstance(marked, UnsetType) else from_json(bytes(marked))

    @property
    def fields(self) -> dict[str, Any] | None:
        """The document's fields; None if they were not requested or could not be fetched.

        Reading this the first time decodes them.
        """
        stored = self.stored
        if isinstance(stored, msgspec.Raw):
            decoded: dict[str, Any] = from_json(bytes(stored))
            self.stored = decoded
            return decoded
        return stored


class SearchResult(msgspec.Struct, frozen=True, gc=False):
    """The answer to one search.

    Attributes:
        outcomes: outcome → number of shards, for every outcome; the sum is the fan-out.
        detail: the shards that were not searched; with `explain`, all of them.
        fetch: None if no fields were requested.
        warnings: what a lenient parser repaired in the query.
        lease: keeps the memory of the hits' documents counted until it is released or dropped.
        steps_s: time for merging the shards' hits (and for asking some shards again), and for
            reading the documents that the replies did not bring, in s; None if it is not sampled.
        trace_id: names the search's trace; None while tracing is off.
        facets: the counts of the facets, by field; UNSET without facets.
        next_page: where the next page begins; UNSET unless the search is read page by page.
        legs: how the legs have ended; UNSET unless the search is hybrid.
        skipped: the shards that were skipped.
        did_you_mean: a query that finds more; UNSET without.
        slips: the words of the query that are probably misspelt, if that was asked for.
    """

    hits: list[Hit]
    total_hits: TotalHits
    coverage: Coverage
    outcomes: dict[Outcome, int]
    detail: list[ShardDetail]
    took_ms: float
    deadline_ms: float
    fetch: Fetch | None = None
    warnings: tuple[str, ...] = ()
    lease: Lease | None = None
    steps_s: tuple[float, float] | None = None
    trace_id: str | None = None
    facets: dict[str, FacetAnswer] | UnsetType = UNSET
    next_page: NextPage | UnsetType = UNSET
    legs: dict[str, Leg] | UnsetType = UNSET
    skipped: Sequence[int] = ()
    did_you_mean: str | UnsetType = UNSET
    slips: tuple[Slip, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON values."""
        return to_builtins(self.answer())

    def answer(self) -> SearchAnswer:
        """The answer in the shape that is encoded."""
        return SearchAnswer(
            hits=cast("list[AnsweredHit]", self.hits),  # both are encoded alike
            total_hits=self.total_hits,
            coverage=rounded(self.coverage),
            shards=shards_of(self.outcomes, self.detail),
            fetch=self.fetch,
            warnings=list(self.warnings),
            took_ms=round(self.took_ms, 3),
            deadline_ms=self.deadline_ms,
            trace_id=self.trace_id,
            facets=self.facets,
            next_page=self.next_page,
            legs=self.legs,
            did_you_mean=self.did_you_mean,
        )


def rounded(coverage: Coverage) -> Coverage:
    """The coverage as it is encoded."""
    if coverage.is_full:
        return coverage
    return replace(coverage, fraction=round(coverage.fraction, 6))


def shards_of(outcomes: Mapping[Outcome, int], detail: list[ShardDetail]) -> Shards:
    """The outcomes as they are encoded."""
    counts = {**_NO_SHARDS, **outcomes}.values()
    shards: Any = (sum(counts), *counts, detail)
    return Shards(*shards)
