"""How a search's fetch has gone."""

from typing import NamedTuple

from hedgerow.gateway.search.gather import Gather


class FetchWalk(NamedTuple):
    """A search's fetch: how its shards' parts have ended, and when the last had."""

    gather: Gather
    ended_at: float
