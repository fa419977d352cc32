"""The record of an ended search that observers receive."""

from collections.abc import Callable, Mapping

import msgspec

from hedgerow.common.wire.messages import Request
from hedgerow.gateway.policies.shard_result import ShardResult
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.guards.canary import Trial
from hedgerow.gateway.search.guards.heavy_work import HeavyQuery
from hedgerow.gateway.search.planned_search import PlannedSearch


class EndedSearch(msgspec.Struct, frozen=True, gc=False):
    """A search after every shard's part has ended, with any outcome.

    Attributes:
        search: what was asked.
        request: the request that was sent last.
        gather: how the parts of the shards that were asked have ended.
        trial: the canary's trial; None if the rank profile has no canary.
        heavy: the search's entry in `HeavyWork`.
        sent_at: when the scatter began, on the event loop's clock.
        deadline: until when the search waited for replies, on the same clock.
        ended_at: when the last part ended, on the same clock.
        is_sampled: whether the search is in the sample that the gateway learns from.
    """

    search: PlannedSearch
    request: Request
    gather: Gather
    trial: Trial | None
    heavy: HeavyQuery
    sent_at: float
    deadline: float
    ended_at: float
    is_sampled: bool

    @property
    def results(self) -> Mapping[int, ShardResult]:
        """Shard → how its part has ended, for the shards that were asked."""
        return self.gather.results

    @property
    def late_s(self) -> float:
        """How long after the deadline shards may still reply, in s."""
        return self.request.late_ms / 1000

    @property
    def overhead_s(self) -> float:
        """The part of the query's time that was not for the wait for the shards, in s."""
        return self.search.query.deadline_ms / 1000 - (self.deadline - self.sent_at)


Observer = Callable[[EndedSearch], None]
