"""What is known of one search afterwards: where its time went, and how its shards have ended."""

from typing import Final

import msgspec

from hedgerow.common.wire.trace_context import TraceContext
from hedgerow.gateway.search.documents.fetch_walk import FetchWalk
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.plan import Plan
from hedgerow.gateway.search.result import SearchQuery

# The numbers of the spans that are parts of a search, beside those of its shards.
ADMIT: Final = 1
MERGE: Final = 2
FETCH: Final = 3


class SearchTrace(msgspec.Struct, frozen=True, gc=False):
    """The trace that a search is a part of.

    Attributes:
        span: the search's own span, packed (`TraceContext.pack`).
        caller_span: the caller's span, which that is a part of; 0 for none.
        hex_id: the id of the trace, as answers and logs show it.
        is_sampled: whether the trace is certain to be kept.
    """

    span: bytes
    caller_span: int
    hex_id: str
    is_sampled: bool

    @property
    def fetch(self) -> bytes | None:
        """The span of the fetch, packed."""
        context = TraceContext.unpack(self.span)
        return None if context is None else context.child(FETCH).pack()


# Made from what exists anyway, and only for searches that are logged or traced: to note instants in
# every search would take a hundredth of its CPU.
class Walk(msgspec.Struct, frozen=True):
    """One search, as far as it has come; instants are on the event loop's clock, in s.

    Attributes:
        query: what is asked.
        trace: the trace that it is a part of; None while tracing is off.
        started: when the search began.
        ended_at: when it ended.
        profile: name of the rank profile; "" if it was not planned.
        plan: which shards were asked; None if it was not planned.
        gather: how their parts have ended; None if they were not asked.
        fetch: the fetch, if there was one.
        error: what it ended by; None for an answer.
    """

    query: SearchQuery
    trace: SearchTrace | None
    started: float
    ended_at: float
    profile: str = ""
    plan: Plan | None = None
    gather: Gather | None = None
    fetch: FetchWalk | None = None
    error: BaseException | None = None

    @property
    def sent_at(self) -> float:
        """When the shards were asked; the end, if none was."""
        return self.ended_at if self.gather is None else self.gather.started

    @property
    def gathered_at(self) -> float:
        """When the last shard's part had ended."""
        if self.gather is None:
            return self.ended_at
        times = [part.took_s for part in self.gather.results.values()]
        return min(self.sent_at + max(times, default=0.0), self.ended_at)

    @property
    def merged_at(self) -> float:
        """When the hits were in order."""
        return self.ended_at if self.fetch is None else self.fetch.gather.started

    @property
    def is_partial(self) -> bool:
        """Whether a shard that was to be searched was not, or its documents were not read."""
        plan, gather, fetch = self.plan, self.gather, self.fetch
        if plan is None or gather is None or gather.num_ok < len(plan.breakers.shards):
            return True
        return fetch is not None and fetch.is_partial

    @property
    def is_hedged(self) -> bool:
        """Whether any shard got a second copy of its request."""
        return (self.gather is not None and bool(self.gather.hedged)) or (
            self.fetch is not None and self.fetch.is_hedged
        )
