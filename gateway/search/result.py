"""A search in the gateway: who asks it, and what is known of its answer before it is encoded."""

from typing import Any, Final, cast

import msgspec
from msgspec.structs import replace
from pydantic_core import from_json

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.access.caller import ANONYMOUS, Caller
from hedgerow.gateway.search.answer_memory import Lease
from hedgerow.gateway.shapes.answer import (
    Coverage,
    Fetch,
    SearchAnswer,
    ShardDetail,
    Shards,
    TotalHits,
)
from hedgerow.gateway.shapes.answer import Hit as AnsweredHit
from hedgerow.gateway.shapes.search import Search
from hedgerow.gateway.views.json_bytes import to_builtins

_NO_SHARDS: Final = dict.fromkeys(Outcome, 0)  # in the order of the members of `Shards`


class SearchQuery(Search, frozen=True, gc=False):
    """A search, and who asks.

    Attributes:
        caller: on whose behalf it is asked; what is in flight is shared between callers.
        peer: the address it is asked from, which tells callers without a key apart.
        traceparent: the caller's trace, as W3C Trace Context has it; "" for none.
    """

    caller: Caller = ANONYMOUS
    peer: str = ""
    traceparent: str = ""


class Hit(msgspec.Struct, gc=False, rename={"stored": "fields"}):
    """One document found: encoded, a `shapes.answer.Hit`.

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


class SearchResult(msgspec.Struct, frozen=True, gc=False):
    """The answer to one search.

    Attributes:
        outcomes: outcome → number of shards, every outcome named; sums to the fan-out.
        detail: the shards that are not ok; with `explain`, all of them.
        fetch: None when no fields were asked for.
        warnings: what a lenient parser repaired in the query.
        lease: what the hits' documents count as held in the gateway, for as long as it is kept.
        trace_id: names the search's trace; None while tracing is off.
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
    trace_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON has it."""
        return to_builtins(self.answer())

    def answer(self) -> SearchAnswer:
        """The answer as it is encoded."""
        coverage = self.coverage
        if not coverage.is_full:
            coverage = replace(coverage, fraction=round(coverage.fraction, 6))
        counts = {**_NO_SHARDS, **self.outcomes}.values()
        shards: Any = (sum(counts), *counts, self.detail)
        return SearchAnswer(
            hits=cast("list[AnsweredHit]", self.hits),  # which are encoded alike
            total_hits=self.total_hits,
            coverage=coverage,
            shards=Shards(*shards),
            fetch=self.fetch,
            warnings=list(self.warnings),
            took_ms=round(self.took_ms, 3),
            deadline_ms=self.deadline_ms,
            trace_id=self.trace_id,
        )
