"""What the parts of a worker share."""

import time
from dataclasses import dataclass, field

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.observability.tracing import Tracing
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.server_clock import ServerClock
from hedgerow.common.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """One worker, and the cluster that it is a member of.

    Attributes:
        settings: all settings.
        worker_id: the worker's name in the cluster.
        num_shards: shards in the cluster.
        control: the client for everything off the hot path.
        keys: the names of everything in Redis.
        tracing: sends spans; None while tracing is off.
        clock: the Redis server's.
        counters: the worker's.
    """

    settings: Settings
    worker_id: str
    num_shards: int
    control: RedisClient
    keys: Keys
    tracing: Tracing | None = None
    clock: ServerClock = field(default_factory=ServerClock)
    counters: Counters = field(default_factory=Counters)

    def server_ms(self) -> int:
        """The current time, in ms on the server's clock."""
        return self.clock.server_us(time.monotonic()) // 1000
