"""Forecasts for each shard when a request that is sent now would be started. Pure.

A push returns the length of the shard's queue, so the number of requests ahead is known at no cost.
The rate is learnt from replies: a request that was pushed as the L-th of its queue and waited w
there saw L requests leave in w. Both include other gateways' requests, and expired ones.

Requests ahead are gone at the latest when they have expired, since workers drop them unscored:
after a burst with short deadlines, a queue is long, and yet soon empty. Other gateways' deadlines
are not known, so with several gateways a forecast may be too short.

Without pushes, the queue shrinks at the learnt rate: the forecast stores the instant at which the
last request in the queue will be started, and that comes nearer by itself.

The forecast assumes first in, first out. While workers are behind, they serve the newest first and
start new requests at once: L is large and w small, so the forecast soon says that a new request
would not wait. That is true then, and an error leads to asking, not to refusing.
"""

from typing import Final

# Shorter waits are the latency of Redis and two event loops, and the difference between the clocks.
BASE_US: Final = 1000
# Weight of the past, in requests: a sample with L requests ahead has seen L of them. So the spacing
# is the sum of waits over the sum of lengths, which is not biased if many are pulled at once.
_MEMORY: Final = 64
_LEAST_SPACING_S: Final = 1e-6  # at a million a second nothing is behind


class QueueForecast:
    """The forecast of each shard's queue.

    Attributes:
        starts_at: for each shard, the expected instant at which the last request in its queue is
            started; in the past if the queue is empty.
        spacing_s: for each shard, the time from one start to the next, in s; 0 while it keeps up.
    """

    __slots__ = ("_expires_at", "spacing_s", "starts_at")

    def __init__(self, num_shards: int) -> None:
        """Start with no queue behind."""
        self.spacing_s = [0.0] * num_shards
        self.starts_at = [0.0] * num_shards
        self._expires_at = [0.0] * num_shards  # of the last pushed request to expire

    def on_queued(self, shard: int, backlog: int, expires_at: float, now: float) -> None:
        """After a push of requests that expire at `expires_at`, a queue's length was `backlog`."""
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
        """Return how long a request that is sent now would wait in a shard's queue, in s."""
        return max(0.0, self.starts_at[shard] - now)
