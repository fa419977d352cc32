"""How a search's scatter has ended: the record that observers get."""

from collections.abc import Callable, Mapping

import msgspec

from hedgerow.common.wire.messages import Request
from hedgerow.gateway.policies.shard_result import ShardResult
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.guards.canary import Trial
from hedgerow.gateway.search.guards.heavy_work import HeavyQuery
from hedgerow.gateway.search.planned_search import PlannedSearch


class EndedSearch(msgspec.Struct, frozen=True, gc=False):
    """A search of which every shard's part has ended, in whatever way.

    Attributes:
        search: what was asked.
        request: as it was sent last.
        gather: how the parts of the shards that were asked have ended.
        trial: the canary's; None where the rank profile has none.
        heavy: its place in the account of heavy queries.
        sent_at: when the scatter began, on the event loop's clock.
        deadline: until when replies were waited for, on the same clock.
        ended_at: when the last part ended, on the same clock.
        is_sampled: whether it is one to learn from.
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
        """Shard → how its part has ended, of those that were asked."""
        return self.gather.results

    @property
    def late_s(self) -> float:
        """For how long after the deadline replies may come, in s."""
        return self.request.late_ms / 1000

    @property
    def overhead_s(self) -> float:
        """What the query's deadline held beside the wait for the shards, in s."""
        return self.search.query.deadline_ms / 1000 - (self.deadline - self.sent_at)


Observer = Callable[[EndedSearch], None]
