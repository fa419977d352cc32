"""What is known of one search afterwards: where its time went, and how its shards have ended."""

from typing import Final

from hedgerow.common.wire.trace_context import TraceContext
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.plan import Plan
from hedgerow.gateway.search.result import SearchQuery

# The numbers of the spans that are parts of a search, beside those of its shards.
ADMIT: Final = 1
MERGE: Final = 2
FETCH: Final = 3


class Walk:
    """One search, as far as it has come; instants are on the event loop's clock, in s.

    Attributes:
        query: what is asked.
        started: when the search began.
        trace: the search's own span; None while tracing is off.
        caller_span: the caller's span, which that is a part of; 0 for none.
        to_workers: the context that the workers get, packed; None for none.
        profile: name of the rank profile.
        plan: which shards were asked; None before that.
        gather: how their parts have ended; None before they were asked.
        sent_at: when they were asked.
        gathered_at: when the last part had ended.
        merged_at: when the hits were ordered; 0 before that.
        fetch: how the shards' parts of the fetch have ended; None if there was none.
        fetched_at: when the last of those had ended.
    """

    __slots__ = (
        "caller_span",
        "fetch",
        "fetched_at",
        "gather",
        "gathered_at",
        "merged_at",
        "plan",
        "profile",
        "query",
        "sent_at",
        "started",
        "to_workers",
        "trace",
    )

    def __init__(
        self,
        query: SearchQuery,
        started: float,
        trace: TraceContext | None = None,
        caller_span: int = 0,
        to_workers: bytes | None = None,
    ) -> None:
        """Begin; the arguments are the attributes."""
        self.query = query
        self.started = started
        self.trace = trace
        self.caller_span = caller_span
        self.to_workers = to_workers
        self.profile = ""
        self.plan: Plan | None = None
        self.gather: Gather | None = None
        self.fetch: Gather | None = None
        self.sent_at = self.gathered_at = self.merged_at = self.fetched_at = 0.0

    @property
    def trace_id(self) -> str | None:
        """The id of the trace, as answers show it; None while tracing is off."""
        return None if self.trace is None else self.trace.hex_id

    def fetch_to_workers(self) -> bytes | None:
        """Return the context that the workers get with a fetch, packed; None for none."""
        if self.trace is None or self.to_workers is None:
            return None
        return self.trace.child(FETCH).pack()

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
        return any(
            gather is not None and bool(gather.hedged) for gather in (self.gather, self.fetch)
        )
