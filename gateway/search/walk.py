"""What is known of one search afterwards: where its time went, and how its shards have ended."""

from typing import Final

import msgspec

from hedgerow.common.wire.trace_context import TraceContext, hex_id_of
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.plan import Plan
from hedgerow.gateway.search.result import SearchQuery

# The numbers of the spans that are parts of a search, beside those of its shards.
ADMIT: Final = 1
MERGE: Final = 2
FETCH: Final = 3


# A struct, and not tracked by the collector: one is made for each search. It is in no cycle.
class Walk(msgspec.Struct, gc=False):
    """One search, as far as it has come; instants are on the event loop's clock, in s.

    Attributes:
        query: what is asked.
        started: when the search began.
        trace: the search's own span, packed (`TraceContext.pack`); b"" while tracing is off.
        caller_span: the caller's span, which that is a part of; 0 for none.
        goes_to_workers: whether the workers get the context.
        profile: name of the rank profile.
        plan: which shards were asked; None before that.
        gather: how their parts have ended; None before they were asked.
        sent_at: when they were asked.
        gathered_at: when the last part had ended.
        fetch: how the shards' parts of the fetch have ended; None if there was none.
        fetch_sent_at: when they were asked.
        fetched_at: when the last of those had ended.
    """

    query: SearchQuery
    started: float
    trace: bytes = b""
    caller_span: int = 0
    goes_to_workers: bool = False
    profile: str = ""
    plan: Plan | None = None
    gather: Gather | None = None
    sent_at: float = 0.0
    gathered_at: float = 0.0
    fetch: Gather | None = None
    fetch_sent_at: float = 0.0
    fetched_at: float = 0.0

    @property
    def trace_id(self) -> str | None:
        """The id of the trace, as answers show it; None while tracing is off."""
        return hex_id_of(self.trace) if self.trace else None

    @property
    def to_workers(self) -> bytes | None:
        """The context that the workers get, packed; None for none."""
        return self.trace if self.goes_to_workers else None

    @property
    def fetch_to_workers(self) -> bytes | None:
        """The context that the workers get with a fetch, packed; None for none."""
        context = TraceContext.unpack(self.trace) if self.goes_to_workers else None
        return None if context is None else context.child(FETCH).pack()

    @property
    def is_partial(self) -> bool:
        """Whether a shard that was to be searched was not, or its documents were not read."""
        plan, gather = self.plan, self.gather
        if plan is None or gather is None or gather.num_ok < len(plan.breakers.shards):
            return True
        return self.fetch is not None and self.fetch.num_ok < len(self.fetch.asked)

    @property
    def is_hedged(self) -> bool:
        """Whether any shard got a second copy of its request."""
        return (self.gather is not None and bool(self.gather.hedged)) or (
            self.fetch is not None and bool(self.fetch.hedged)
        )

    def merged_at(self, ended_at: float) -> float:
        """When the hits were in order, in a search that ended then."""
        return self.fetch_sent_at or ended_at
