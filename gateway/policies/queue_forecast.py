"""When a request that is sent now would be started, for each shard. Pure.

A push returns the length of the shard's queue, so the number of requests ahead is known at no cost.
Their rate is learnt from replies: a request that was pushed as the L-th of its queue and waited for
w saw L requests leave in w. Both include requests of other gateways, and expired ones that were
dropped.

The requests ahead are gone, at the latest, when they have expired, since workers drop them
unscored: after a burst with short deadlines, a queue is long but soon empty. The deadlines of other
gateways are not known, so with several gateways a forecast may be too short.

If nothing is pushed, the queue shrinks at the learnt rate: the forecast keeps the instant at which
the last request seen in the queue will be started, and time approaches it by itself.

The forecast is for first in, first out. Workers that are behind serve the newest first, and start
the last requests pushed at once: L is large, w is small, and the forecast soon says that a new
request would not wait. This is then true, and it errs on the side of asking.
"""

from typing import Final

# Below this, a wait is the way through Redis and two event loops, and the difference of clocks.
BASE_US: Final = 1000
# Weight of the past, in requests: a sample with L requests ahead has seen L of them. The result is
# the sum of waits divided by the sum of lengths, which a pull of many at once does not bias.
_MEMORY: Final = 64
_LEAST_SPACING_S: Final = 1e-6  # at a million requests a second, no queue is behind


class QueueForecast:
    """The forecast for each shard's queue.

    Attributes:
        starts_at: for each shard, the estimated instant at which the last request pushed to it is
            started; in the past if its queue is empty.
        spacing_s: for each shard, the time from one start to the next, in s; 0 while it keeps up.
    """

    __slots__ = ("_expires_at", "spacing_s", "starts_at")

    def __init__(self, num_shards: int) -> None:
        """Begin with no queue behind."""
        self.spacing_s = [0.0] * num_shards
        self.starts_at = [0.0] * num_shards
        self._expires_at = [0.0] * num_shards  # the latest expiry of a pushed request

    def on_queued(self, shard: int, backlog: int, expires_at: float, now: float) -> None:
        """A push of requests that expire at `expires_at` made a queue's length `backlog`."""
        last_expires_at = self._expires_at[shard]
        if expires_at > last_expires_at:
            self._expires_at[shard] = last_expires_at = expires_at
        starts_at = now + backlog * self.spacing_s[shard]
        self.starts_at[shard] = min(last_expires_at, starts_at)

    def learn(self, shard: int, backlog: int, queue_us: int) -> None:
        """A request that was pushed as one of `backlog` waited in the queue for `queue_us`."""
        if backlog <= 0:
            return
        sample_s = (queue_us - BASE_US) * 1e-6 / backlog if queue_us > BASE_US else 0.0
        spacing_s = self.spacing_s[shard]
        spacing_s += (sample_s - spacing_s) * backlog / (backlog + _MEMORY)
        self.spacing_s[shard] = spacing_s if spacing_s > _LEAST_SPACING_S else 0.0

    def wait_s(self, shard: int, now: float) -> float:
        """How long a request that is sent now would wait in a shard's queue, in s."""
        return max(0.0, self.starts_at[shard] - now)
