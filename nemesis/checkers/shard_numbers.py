"""How many shards an answer may be over: splits double the number while clients search."""

from bisect import bisect_right
from collections.abc import Sequence

from nemesis.history import Any, Search, SplitBegan, State
from nemesis.layout import NUM_SHARDS


class ShardNumbers:
    """The numbers of shards that the cluster may have had, by time."""

    def __init__(self, events: Sequence[Any]) -> None:
        """Read the splits of a history, whose events are in the order of their times."""
        splits = [event for event in events if isinstance(event, SplitBegan)]
        self._times = [split.at for split in splits]
        self._numbers = [NUM_SHARDS, *(split.num_shards for split in splits)]

    def until(self, at: float) -> frozenset[int]:
        """Each number up to some time: a split may have ended, or been given up."""
        return frozenset(self._numbers[: bisect_right(self._times, at) + 1])


def shards_of(search: Search) -> int:
    """The number of shards that an answer says it is over."""
    return len(search.outcomes or ())


def shards_seen(events: Sequence[Any], at: float) -> int:
    """The number of shards that a gateway last showed before some time."""
    shown = [
        len(event.replicas)
        for event in events
        if isinstance(event, State) and event.replicas and event.at <= at
    ]
    return shown[-1] if shown else NUM_SHARDS
