"""How the legs of a hybrid search have ended, and what they say together. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.search.coverage.measurement import (
    count_outcomes,
    coverage_of,
    measure_coverage,
)
from hedgerow.gateway.search.result import Hit, SearchResult, rounded, shards_of
from hedgerow.gateway.shapes.answer import Coverage, Leg, ShardDetail, TotalHits

_OK = Outcome.OK


class LegEnd(NamedTuple):
    """How a leg has ended.

    Attributes:
        result: the answer to its search, which may be partial, or without any hit; None if no shard
            was asked.
        took_s: from the start of the hybrid search to its end.
        embed_s: the part of it until the query's text was a vector; None if it came as one.
        left_out: why it is not in the fusion; "" if it is.
        outcome: that of all shards' parts, if they were not asked.
        error: what kept it from beginning, if anything did.
    """

    result: SearchResult | None
    took_s: float
    embed_s: float | None = None
    left_out: str = ""
    outcome: Outcome = _OK
    error: Exception | None = None

    @property
    def hits(self) -> list[Hit]:
        """Its hits, which are in the fusion."""
        return [] if self.left_out or self.result is None else self.result.hits


def leg_of(end: LegEnd, of_shards: Sequence[Outcome], total: int) -> Leg:
    """Describe a leg for the answer.

    Args:
        end: how it has ended.
        of_shards: the outcome of each shard's part.
        total: the documents of the collection.
    """
    result = end.result
    if result is None:
        detail = [
            ShardDetail(shard, outcome, end.left_out) for shard, outcome in enumerate(of_shards)
        ]
        outcomes = count_outcomes(of_shards)
        degraded = {outcome.value: count for outcome, count in outcomes.items() if count}
        coverage, found = coverage_of(0, total, degraded), TotalHits(0, "gte")
    else:
        detail, outcomes = result.detail, result.outcomes
        coverage, found = result.coverage, result.total_hits
    return Leg(
        coverage=rounded(coverage),
        shards=shards_of(outcomes, detail),
        total_hits=found,
        candidates=len(end.hits),
        took_ms=round(end.took_s * 1000, 3),
        embed_ms=UNSET if end.embed_s is None else round(end.embed_s * 1000, 3),
        left_out=end.left_out or UNSET,
    )


class Together(NamedTuple):
    """What a hybrid answer says of its shards.

    Attributes:
        coverage: counts the documents that every leg has searched.
        outcomes: outcome → number of shards; a shard is ok if it is in every leg.
        detail: the shards that are not ok; with `explain`, all of them.
        of_legs: leg → the outcome of each shard's part.
    """

    coverage: Coverage
    outcomes: dict[Outcome, int]
    detail: list[ShardDetail]
    of_legs: dict[str, list[Outcome]]


def together(ends: Mapping[str, LegEnd], counts: Sequence[int | None]) -> Together:
    """Say what all legs together have searched.

    Args:
        ends: name → how the leg has ended.
        counts: for each shard, how many documents of the collection it last reported.
    """
    num_shards = len(counts)
    worst: dict[int, ShardDetail] = {}
    of_legs: dict[str, list[Outcome]] = {}
    for name, end in ends.items():
        parts = of_legs[name] = [_OK if end.result else end.outcome] * num_shards
        for detail in _details(end, num_shards):
            parts[detail.shard] = detail.outcome
            known = worst.get(detail.shard)
            if known is None or (known.outcome is _OK and _is_worse(detail, known)):
                reason = f"{name}: {detail.reason}" if detail.reason else ""
                worst[detail.shard] = replace(detail, reason=reason)
    outcomes = [worst[shard].outcome if shard in worst else _OK for shard in range(num_shards)]
    # How many documents a skipped shard has is known from its last report only.
    counted = {name: end for name, end in ends.items() if not _has_skipped(end)} or ends
    documents = min(
        _searched(end, of_legs[name], outcomes, counts) for name, end in counted.items()
    )
    if all(outcome is _OK for outcome in outcomes):
        coverage = coverage_of(documents, documents)
    else:
        coverage = measure_coverage(outcomes, documents, counts)
    return Together(
        coverage,
        count_outcomes(outcomes),
        [worst[shard] for shard in sorted(worst)],
        of_legs,
    )


def _has_skipped(end: LegEnd) -> bool:
    return end.result is not None and bool(end.result.skipped)


def _is_worse(detail: ShardDetail, known: ShardDetail) -> bool:
    """Whether a shard's part in one leg says more than in another, in which it is ok."""
    return detail.outcome is not _OK or detail.took_us > known.took_us


def _details(end: LegEnd, num_shards: int) -> Iterable[ShardDetail]:
    if end.result is not None:  # a shard without a match was searched
        return [detail for detail in end.result.detail if detail.outcome is not Outcome.SKIPPED]
    return [ShardDetail(shard, end.outcome, end.left_out) for shard in range(num_shards)]


def _searched(
    end: LegEnd, own: Sequence[Outcome], all_legs: Sequence[Outcome], counts: Sequence[int | None]
) -> int:
    """The documents that a leg has searched on the shards that are ok in every leg."""
    if end.result is None:
        return 0
    lost = sum(
        counts[shard] or 0
        for shard, outcome in enumerate(all_legs)
        if outcome is not _OK and own[shard] is _OK
    )
    return max(0, end.result.coverage.documents - lost)
