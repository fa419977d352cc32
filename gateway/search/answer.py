"""Builds a search's answer from the shards' replies, with the reasons for what is missing."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from hedgerow.common.errors import (
    BadQueryError,
    BadRequestError,
    InsufficientCoverageError,
    UnavailableError,
)
from hedgerow.common.outcome import SEARCHED, Outcome
from hedgerow.common.wire.messages import Lane, SearchBody
from hedgerow.gateway.search.coverage.measurement import (
    count_outcomes,
    coverage_of,
    measure_coverage,
)
from hedgerow.gateway.search.documents.answer_memory import Lease
from hedgerow.gateway.search.documents.fetch_walk import FetchWalk
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.options.did_you_mean import merged_slips
from hedgerow.gateway.search.options.facets import Counted, merge_facets, without
from hedgerow.gateway.search.plan import Plan
from hedgerow.gateway.search.planned_search import PlannedSearch
from hedgerow.gateway.search.result import Hit, SearchResult
from hedgerow.gateway.search.skipping.exactness import Exactness
from hedgerow.gateway.shapes.answer import Fetch, ShardDetail, TotalHits
from hedgerow.gateway.shapes.facets import FacetAnswer
from hedgerow.gateway.shapes.reasons import reasons_line
from hedgerow.gateway.shapes.sorting import NextPage

# An enum's member is looked up through a descriptor in Python 3.11: five times a global's price.
_OK: Final = Outcome.OK
_UNRANKED: Final = (
    "{} candidates were not ranked: the documents for a shard's second phase exceed "
    "limits.max_candidate_bytes"
)
_FILLING_S: Final = 5.0  # after which to try again
_LANE_NAMES: Final = {lane.value: "" if lane is Lane.NONE else lane.name.lower() for lane in Lane}

Bodies = list[tuple[int, SearchBody]]


class Found(msgspec.Struct, frozen=True, gc=False):
    """What a search has found.

    Attributes:
        hits: the best of all shards, with those of their documents that have arrived.
        bodies: shard and its reply, of each part that is ok.
        fetch: how the documents were read; None when none were asked for.
        lease: what the documents take of the gateway's memory; None when none were asked for.
        steps_s: as in `SearchResult`.
        fetch_walk: how their fetch went, if there was one.
        facets: the counts of the shards that have answered, by field.
    """

    hits: list[Hit]
    bodies: Bodies
    fetch: Fetch | None
    lease: Lease | None
    steps_s: tuple[float, float] | None = None
    fetch_walk: FetchWalk | None = None
    facets: dict[str, FacetAnswer] = {}


def bodies_of(gather: Gather) -> Bodies:
    """Shard and its reply, of each part that is ok."""
    return [(shard, part.body) for shard, part in gather.results.items() if part.outcome is _OK]


async def with_facets(found: Found, facets: Sequence[Counted]) -> Found:
    """Add the counts of all shards that have answered.

    Raises:
        BadRequestError: a histogram has too many intervals.
    """
    parts = [body.extras.facets for _, body in found.bodies if body.extras is not None]
    return replace(found, facets=await merge_facets(facets, parts))


def make_answer(
    search: PlannedSearch,
    gather: Gather,
    found: Found,
    counts: Sequence[int | None],
    now: float,
    exactness: Exactness | None = None,
) -> SearchResult:
    """Build the answer.

    Args:
        search: what was asked.
        gather: how the parts of the shards that were asked have ended.
        found: the hits.
        counts: for each shard, how many documents of the collection it last reported.
        now: the event loop's time, in s.
        exactness: that the missing shards could not have changed the hits; None if they could.

    Raises:
        BadRequestError: every shard that was asked says that the query is at fault.
        UnavailableError: none of them has filled a field that the query names.
        InsufficientCoverageError: the answer reflects less than the caller demands, or nothing at
            all; it carries the result.
    """
    query, plan, bodies = search.query, search.plan, found.bodies
    num_shards = len(plan.breakers.shards)
    documents = value = unranked = 0
    is_whole = len(bodies) == num_shards
    skipped = () if is_whole else plan.skipped
    is_exact = len(bodies) + len(skipped) == num_shards
    for _, body in bodies:
        documents += body.documents
        value += body.total
        is_exact = is_exact and body.is_exact
        unranked += body.unranked
    warnings = search.admitted.warnings
    if unranked:
        warnings = (*warnings, _UNRANKED.format(unranked))
    outcomes = _outcomes(plan, gather)
    coverage = (
        coverage_of(documents, documents)
        if is_whole
        else measure_coverage(outcomes, documents, counts)
    )
    if exactness is not None and not coverage.is_full:
        bound = UNSET if exactness.bound is None else exactness.bound
        coverage = replace(coverage, exact=True, bound=bound)
    wanted = search.admitted.wanted
    facets: dict[str, FacetAnswer] | UnsetType = UNSET
    next_page: NextPage | UnsetType = UNSET
    if wanted.facets:
        facets = without(max(0, coverage.documents_total - coverage.documents), found.facets)
    if wanted.paging is not None:
        next_page = wanted.paging.next_page(found.hits, query.k, bodies, is_full=coverage.is_full)
    result = SearchResult(
        hits=found.hits,
        total_hits=TotalHits(value, "eq" if is_exact else "gte"),
        coverage=coverage,
        outcomes=count_outcomes(outcomes),
        detail=[]
        if coverage.is_full and not query.explain
        else _detail(plan, gather, outcomes, now, is_whole=query.explain),
        took_ms=(now - search.started) * 1000,
        deadline_ms=query.deadline_ms,
        fetch=found.fetch,
        warnings=warnings,
        lease=found.lease,
        steps_s=found.steps_s,
        trace_id=None if search.trace is None else search.trace.hex_id,
        facets=facets,
        next_page=next_page,
        skipped=skipped,
        slips=merged_slips(bodies) if query.did_you_mean else (),
    )
    if not bodies and gather.asked:
        _check_fault(search, gather)
    if not bodies and not skipped:
        why = reasons_line(result.detail)
        raise InsufficientCoverageError(f"no shard has answered: {why}", result)
    if coverage.fraction < query.minimum_coverage:
        why = reasons_line(result.detail)
        raise InsufficientCoverageError(
            f"coverage is {coverage.fraction:.3f}; at least {query.minimum_coverage:g} is demanded"
            f" ({why})",
            result,
        )
    return result


def _outcomes(plan: Plan, gather: Gather) -> list[Outcome]:
    """How each shard's part ended."""
    results, shards = gather.results, plan.breakers.shards
    if gather.num_ok == len(shards):
        return [_OK] * len(shards)
    return [
        results[shard].outcome if shard in results else plan.not_asked[shard][0] for shard in shards
    ]


def _detail(
    plan: Plan, gather: Gather, outcomes: Sequence[Outcome], now: float, *, is_whole: bool
) -> list[ShardDetail]:
    """How the shards ended that were not searched; with `explain`, all of them."""
    details = []
    for shard, outcome in enumerate(outcomes):
        if outcome in SEARCHED and not is_whole:
            continue
        breaker = plan.breakers[shard].state(now).value
        part = gather.results.get(shard)
        if part is None:
            reason = plan.not_asked[shard][1]
            details.append(ShardDetail(shard, outcome, reason, breaker=breaker))
            continue
        reply = part.reply
        details.append(
            ShardDetail(
                shard=shard,
                outcome=outcome,
                reason=part.reason,
                worker=part.worker,
                lane=_LANE_NAMES.get(reply.lane, "") if reply else "",
                queue_us=reply.queue_us if reply else 0,
                lane_us=reply.lane_us if reply else 0,
                work_us=reply.work_us if reply else 0,
                took_us=int(part.took_s * 1e6),
                breaker=breaker,
                hedged_us=int(gather.hedged.get(shard, 0.0) * 1e6),
                is_hedge=reply is not None and reply.is_hedge,
            )
        )
    return details


def _check_fault(search: PlannedSearch, gather: Gather) -> None:
    """Check whether no shard has answered because the query is at fault.

    A shard says why, and not which member it is about: the one that ranks is named.

    Raises:
        BadRequestError: every shard that was asked says that it is.
        UnavailableError: so they do, and it names a field that was added a moment ago.
    """
    query, parts = search.query, list(gather.results.values())
    if parts and all(part.code == BadQueryError.code for part in parts):
        if name := search.admitted.filling:
            raise UnavailableError(
                f"the field {name} was added, and no shard has filled it yet", _FILLING_S
            )
        ranks = (("vector", query.vector), ("more_like", query.more_like))
        field = next((name for name, member in ranks if member is not None), "query")
        raise BadRequestError(field, parts[0].reason)
