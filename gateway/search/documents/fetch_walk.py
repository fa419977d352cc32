"""How a search's fetch has gone."""

from typing import NamedTuple

from hedgerow.gateway.search.gather import Gather


class FetchWalk(NamedTuple):
    """A search's fetch: how its shards' parts have ended, and when the last had."""

    gather: Gather
    ended_at: float

    @property
    def is_partial(self) -> bool:
        """Whether the documents of a shard were not read."""
        return self.gather.num_ok < len(self.gather.asked)

    @property
    def is_hedged(self) -> bool:
        """Whether any shard got a second copy of its request."""
        return bool(self.gather.hedged)
