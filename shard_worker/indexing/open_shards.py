"""The shards that a worker has open: what each holds, and how far its log was followed."""

from collections import defaultdict
from collections.abc import Callable

from hedgerow.common.shard_log.entries import position
from hedgerow.shard_worker.indexing.followed_shard import FollowedShard
from hedgerow.shard_worker.indexing.shard_report import ShardState


class OpenShards:
    """What is known of each shard; the applier and its parts share it.

    Attributes:
        states: open shard → what it holds, as the indexer last reported it.
        followed: shard → what else is remembered of it.
    """

    def __init__(self, on_state: Callable[[ShardState], None]) -> None:
        """Call `on_state` with what a shard holds whenever that changes."""
        self.states: dict[int, ShardState] = {}
        self.followed: dict[int, FollowedShard] = defaultdict(FollowedShard)
        self._on_state = on_state

    def take(self, state: ShardState) -> None:
        """Take what a shard holds now."""
        self.followed[state.shard].judged += state.judgements
        self.states[state.shard] = state
        self._on_state(state)

    def take_again(self, state: ShardState) -> None:
        """Take what an open shard holds now, unless it was closed meanwhile."""
        if state.shard in self.states:
            self.take(state)

    def is_before(self, shard: int, entry_id: str) -> bool:
        """Whether a shard has yet to apply an entry."""
        return position(self.states[shard].position) < position(entry_id)

    def forget(self, shard: int) -> None:
        """Forget a shard, which was closed."""
        self.states.pop(shard, None)
        self.followed.pop(shard, None)
