"""When a request that is sent now would be started, shard by shard. Pure.

A push returns the length of the shard's queue, so what lies ahead is known at no cost. How fast it
goes is learnt from replies: a request that was pushed as the L-th of its queue and waited w there
saw L requests go in w. Those of other gateways, and the expired that are dropped, are in both.

What lies ahead is gone at the latest when it has expired, since workers drop that unscored: after a
burst with short deadlines a queue is long, and yet soon empty. Of other gateways' deadlines nothing
is known, so with them a forecast may be too short.

With nothing pushed, the queue shrinks at the rate that was learnt: what is kept is the instant at
which the queue's end as last seen will be started, and that draws nearer by itself.

The forecast holds for first in, first out. Workers that serve the newest first, as they do while
they are behind, start what was pushed late at once: L is large, w small, and the forecast soon says
that a new request would not wait. That is true then, and it errs to the side of asking.
"""

from typing import Final

# Below this, a wait is the way through Redis and two event loops, and the clocks' disagreement.
BASE_US: Final = 1000
# Weight of the past, in requests: a sample with L requests ahead has seen L of them. What is kept
# is thereby the sum of waits over the sum of lengths, which a pull of many at once does not bias.
_MEMORY: Final = 64
_LEAST_SPACING_S: Final = 1e-6  # at a million a second nothing is behind


class QueueForecast:
    """What is known of each shard's queue.

    Attributes:
        starts_at: for each shard, the instant at which what was last pushed to it is started, as
            far as one can tell; in the past when its queue is empty.
        spacing_s: for each shard, the time from one start to the next, in s; 0 while it keeps up.
    """

    __slots__ = ("_expires_at", "spacing_s", "starts_at")

    def __init__(self, num_shards: int) -> None:
        """Know nothing: no queue is behind."""
        self.spacing_s = [0.0] * num_shards
        self.starts_at = [0.0] * num_shards
        self._expires_at = [0.0] * num_shards  # the last of what was pushed

    def on_queued(self, shard: int, backlog: int, expires_at: float, now: float) -> None:
        """A push to a shard's queue, of what expires at `expires_at`, made it so long."""
        last_expires_at = self._expires_at[shard]
        if expires_at > last_expires_at:
            self._expires_at[shard] = last_expires_at = expires_at
        starts_at = now + backlog * self.spacing_s[shard]
        self.starts_at[shard] = min(last_expires_at, starts_at)

    def learn(self, shard: int, backlog: int, queue_us: int) -> None:
        """A request that was pushed as one of `backlog` has waited in the queue for `queue_us`."""
        if backlog <= 0:
            return
        sample_s = (queue_us - BASE_US) * 1e-6 / backlog if queue_us > BASE_US else 0.0
        spacing_s = self.spacing_s[shard]
        spacing_s += (sample_s - spacing_s) * backlog / (backlog + _MEMORY)
        self.spacing_s[shard] = spacing_s if spacing_s > _LEAST_SPACING_S else 0.0

    def wait_s(self, shard: int, now: float) -> float:
        """How long a request that is sent now would wait in a shard's queue, in s."""
        return max(0.0, self.starts_at[shard] - now)
