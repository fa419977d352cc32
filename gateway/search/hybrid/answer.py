"""Builds the answer of a hybrid search from its legs. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import UNSET

from hedgerow.common.errors import InsufficientCoverageError
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.search.coverage.measurement import count_outcomes, measure_coverage
from hedgerow.gateway.search.documents.answer_memory import Lease
from hedgerow.gateway.search.hybrid.fusion import FusedHit
from hedgerow.gateway.search.hybrid.leg_end import LegEnd, leg_of, together
from hedgerow.gateway.search.hybrid.wanted import SECOND_PHASE, TEXT, VECTOR, Legs
from hedgerow.gateway.search.result import Hit, SearchQuery, SearchResult
from hedgerow.gateway.shapes.answer import Fetch, ShardDetail, TotalHits
from hedgerow.gateway.shapes.reasons import reasons_line

_UNSCORED: Final = (
    "The second phase has not scored {} of the {} candidates; these come after the others."
)


def make_answer(
    query: SearchQuery,
    legs: Legs,
    ends: Mapping[str, LegEnd],
    fused: Sequence[FusedHit],
    hits: list[Hit],
    fetched: tuple[Fetch | None, Lease | None],
    counts: Sequence[int | None],
    took_s: float,
) -> SearchResult:
    """Build the answer.

    Args:
        query: what was asked.
        legs: what its legs have asked.
        ends: how they have ended.
        fused: all hits, in their final order.
        hits: those of the answer.
        fetched: how their documents were read, and what they take of the gateway's memory.
        counts: for each shard, how many documents of the collection it last reported.
        took_s: since the search began.

    Raises:
        InsufficientCoverageError: the answer, or a leg of it, reflects less than the caller
            demands, or nothing at all; it carries the result.
    """
    shards = together(ends, counts)
    results = [end.result for end in ends.values() if end.result is not None]
    total = max(
        (result.coverage.documents_total for result in results),
        default=shards.coverage.documents_total,
    )
    by_text = ends[TEXT].result
    result = SearchResult(
        hits=hits,
        total_hits=_total_hits(ends),
        coverage=shards.coverage,
        outcomes=shards.outcomes,
        detail=shards.detail,
        took_ms=took_s * 1000,
        deadline_ms=query.deadline_ms,
        fetch=fetched[0],
        warnings=_warnings(ends, fused, legs),
        lease=fetched[1],
        trace_id=results[0].trace_id if results else None,
        facets=UNSET if by_text is None else by_text.facets,
        legs={name: leg_of(end, shards.of_legs[name], total) for name, end in ends.items()},
    )
    _check_coverage(query, legs, ends, result)
    return result


def unasked(
    query: SearchQuery,
    counts: Sequence[int | None],
    outcome: Outcome,
    reason: str,
    took_s: float,
) -> SearchResult:
    """The result of a search for which no shard was asked.

    Args:
        query: what was asked.
        counts: for each shard, how many documents of the collection it last reported.
        outcome: that of each shard's part.
        reason: why.
        took_s: since the search began.
    """
    outcomes = [outcome] * len(counts)
    return SearchResult(
        hits=[],
        total_hits=TotalHits(0, "gte"),
        coverage=measure_coverage(outcomes, 0, counts),
        outcomes=count_outcomes(outcomes),
        detail=[ShardDetail(shard, outcome, reason) for shard in range(len(counts))],
        took_ms=took_s * 1000,
        deadline_ms=query.deadline_ms,
    )


def _total_hits(ends: Mapping[str, LegEnd]) -> TotalHits:
    """How many documents match; which of them are in both legs is known of the candidates only."""
    candidates = {hit.id for name in (TEXT, VECTOR) for hit in ends[name].hits}
    by_text = ends[TEXT].result
    found = 0 if by_text is None else by_text.total_hits.value
    return TotalHits(max(len(candidates), found), "gte")


def _warnings(ends: Mapping[str, LegEnd], fused: Sequence[FusedHit], legs: Legs) -> tuple[str, ...]:
    warnings: dict[str, None] = {}  # in order, each once
    for name, end in ends.items():
        if end.result is not None:
            warnings.update(dict.fromkeys(end.result.warnings))
        if end.left_out:
            warnings[f"The leg {name} is left out: {end.left_out}"] = None
    if (scored := ends.get(SECOND_PHASE)) is not None:
        num_candidates = min(len(fused), legs.num_scored)
        if num_unscored := num_candidates - len(scored.hits):
            warnings[_UNSCORED.format(num_unscored, num_candidates)] = None
    return tuple(warnings)


def _check_coverage(
    query: SearchQuery, legs: Legs, ends: Mapping[str, LegEnd], result: SearchResult
) -> None:
    if all(ends[name].left_out for name in (TEXT, VECTOR)):
        reasons = "; ".join(f"{name}: {ends[name].left_out}" for name in (TEXT, VECTOR))
        raise InsufficientCoverageError(f"no leg has answered ({reasons})", result)
    for name, least in legs.minimum_coverage.items():
        end = ends[name]
        fraction = 0.0 if end.left_out or end.result is None else end.result.coverage.fraction
        if fraction < least:
            why = end.left_out or (reasons_line(end.result.detail) if end.result else "")
            raise InsufficientCoverageError(
                f"coverage of the leg {name} is {fraction:.3f}; at least {least:g} is demanded"
                f" ({why})",
                result,
            )
    if result.coverage.fraction < query.minimum_coverage:
        raise InsufficientCoverageError(
            f"coverage of all legs is {result.coverage.fraction:.3f}; at least "
            f"{query.minimum_coverage:g} is demanded ({reasons_line(result.detail)})",
            result,
        )
