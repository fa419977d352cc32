"""Makes the spans of one search out of its walk.

search
├── admit
├── search shard          one for each shard of the cluster
│   ├── queue
│   ├── lane
│   ├── work
│   └── second phase      made by the scorer if the trace is sampled
├── merge
└── fetch                 only if documents had to be fetched
    └── fetch shard       one for each shard that was asked
        ├── queue, lane, work
        └── enrich        made by the worker if the trace is sampled
"""

import asyncio
from collections.abc import Iterator
from typing import Final

from hedgerow.common.errors import InsufficientCoverageError
from hedgerow.common.observability.span import Attribute, Span, SpanKind
from hedgerow.common.outcome import Outcome
from hedgerow.common.wire.trace_context import TraceContext
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.plan import Plan
from hedgerow.gateway.search.walk import ADMIT, FETCH, MERGE, Walk
from hedgerow.gateway.search.walk_parts import ShardPart, parts_of

# The numbers of the spans that are parts of a shard's.
_QUEUE: Final = 1
_LANE: Final = 2
_WORK: Final = 3
_USERS: Final = 4
_NO_ATTRIBUTES: Final[dict[str, Attribute]] = {}
_NO_ERRORS: Final = (Outcome.OK, Outcome.SKIPPED, Outcome.CANCELLED)


def spans_of(
    walk: Walk, span: TraceContext, caller_span: int, offset_ns: int, reason: str
) -> list[Span]:
    """Every span of a search.

    Args:
        walk: the search.
        span: its own.
        caller_span: which that is a part of; 0 for none.
        offset_ns: from the event loop's clock to the time since 1970.
        reason: why the trace is kept.
    """
    return list(_Spans(offset_ns).of(walk, span, caller_span, reason))


class _Spans:
    def __init__(self, offset_ns: int) -> None:
        self._offset_ns = offset_ns

    def of(self, walk: Walk, span: TraceContext, caller_span: int, reason: str) -> Iterator[Span]:
        yield Span(
            "search",
            span,
            caller_span,
            self._ns(walk.started),
            self._ns(walk.ended_at),
            _attributes(walk, reason),
            _error_of(walk.error),
            SpanKind.SERVER,
            has_remote_parent=caller_span != 0,
        )
        gather, fetch = walk.gather, walk.fetch
        if gather is None:
            return
        yield self._part("admit", span, ADMIT, walk.started, walk.sent_at)
        yield from self._shards("search shard", "second phase", span, gather, walk.plan)
        if not isinstance(walk.error, asyncio.CancelledError):
            yield self._part("merge", span, MERGE, walk.gathered_at, walk.merged_at)
        if fetch is not None:
            yield self._part("fetch", span, FETCH, walk.merged_at, fetch.ended_at)
            yield from self._shards("fetch shard", "enrich", span.child(FETCH), fetch.gather, None)

    def _shards(
        self, name: str, users: str, parent: TraceContext, gather: Gather, plan: Plan | None
    ) -> Iterator[Span]:
        for part in parts_of(gather, plan):
            span = parent.of_shard(part.shard)
            started_ns = self._ns(part.started)
            yield Span(
                name,
                span,
                parent.span_id,
                started_ns,
                started_ns + part.took_us * 1000,
                _shard_attributes(part),
                "" if part.outcome in _NO_ERRORS else part.reason or part.outcome.value,
                SpanKind.CLIENT,
            )
            if not part.worker:
                continue
            at_ns = started_ns
            work_ns = started_ns + (part.queue_us + part.lane_us) * 1000
            for step, number, took_us in (
                ("queue", _QUEUE, part.queue_us),
                ("lane", _LANE, part.lane_us),
                ("work", _WORK, part.work_us),
            ):
                ended_ns = at_ns + took_us * 1000
                if took_us:
                    yield _step(step, span, number, at_ns, ended_ns)
                at_ns = ended_ns
            if part.users_us is not None:
                after_us, took_us = part.users_us
                began_ns = work_ns + after_us * 1000
                yield _step(users, span, _USERS, began_ns, began_ns + took_us * 1000)

    def _part(
        self, name: str, parent: TraceContext, number: int, started: float, ended: float
    ) -> Span:
        return _step(name, parent, number, self._ns(started), self._ns(ended))

    def _ns(self, instant: float) -> int:
        return int(instant * 1e9) + self._offset_ns


def _step(name: str, parent: TraceContext, number: int, started_ns: int, ended_ns: int) -> Span:
    return Span(name, parent.child(number), parent.span_id, started_ns, ended_ns, _NO_ATTRIBUTES)


def _attributes(walk: Walk, reason: str) -> dict[str, Attribute]:
    query, gather, plan = walk.query, walk.gather, walk.plan
    found: dict[str, Attribute] = {
        "hedgerow.collection": query.collection,
        "hedgerow.rank_profile": walk.profile,
        "hedgerow.deadline_ms": query.deadline_ms,
        "hedgerow.kept": reason,
    }
    if gather is not None and plan is not None:
        found["hedgerow.shards"] = len(plan.breakers.shards)
        found["hedgerow.shards_ok"] = gather.num_ok
        found["hedgerow.hedges"] = len(gather.hedged)
    if walk.error is not None:
        found["error.type"] = type(walk.error).__name__
    return found


def _error_of(error: BaseException | None) -> str:
    if error is None:
        return ""
    if isinstance(error, asyncio.CancelledError):
        return "the caller has left"
    if isinstance(error, InsufficientCoverageError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _shard_attributes(part: ShardPart) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {
        "hedgerow.shard": part.shard,
        "hedgerow.outcome": part.outcome.value,
    }
    if part.worker:
        found["hedgerow.worker"] = part.worker
        found["hedgerow.lane"] = part.lane
    if part.hedged_us:
        found["hedgerow.hedged_after_us"] = part.hedged_us
        found["hedgerow.is_hedge"] = part.is_hedge
    return found
