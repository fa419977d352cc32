"""The requests that a worker has pulled, and those that were cancelled before it pulled them.

A gateway says on a shard's cancel channel which queries need that shard no longer: the caller has
left, enough was there, or another copy has won. A request that runs is stopped through its budget.
One that this worker has not pulled yet is remembered until it expires, and dropped when it is
pulled: looking for it in the queue would cost Redis time that grows with the queue, just when that
is long.
"""

from collections.abc import Callable

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.server_clock import ServerClock
from hedgerow.common.wire.messages import Request, unpack_cancellation

# What makes a request unique: the gateway's reply channel, its query, and the shard.
Key = tuple[str, int, int]

MOST_REMEMBERED = 20_000  # some MB; the oldest are forgotten, and at worst answered in vain


class InFlight:
    """Knows which requests run here, and which need not run."""

    def __init__(self, clock: ServerClock, counters: Counters, max_message_bytes: int) -> None:
        """Nothing is known yet."""
        self._clock = clock
        self._counters = counters
        self._max_bytes = max_message_bytes
        self._running: dict[Key, Callable[[], object]] = {}
        self._unwanted: dict[Key, int] = {}  # → when it expires, in ms on the server's clock

    def has(self, shard: int, request: Request) -> bool:
        """Whether this worker has another copy of a request."""
        return self.is_running((request.reply_to, request.query_id, shard))

    def is_running(self, key: Key) -> bool:
        """Whether this worker has a copy of it."""
        return key in self._running

    def begin(self, key: Key, stop: Callable[[], object]) -> None:
        """A request has been given to a lane; `stop` cancels it there."""
        self._running[key] = stop

    def end(self, key: Key) -> bool:
        """A request has ended; returns whether it was still wanted then."""
        return self._running.pop(key, None) is not None

    def is_unwanted(self, shard: int, request: Request) -> bool:
        """Whether a request that was pulled just now was cancelled before."""
        if not self._unwanted:
            return False
        return self._unwanted.pop((request.reply_to, request.query_id, shard), None) is not None

    def on_cancel(self, shard: int, message: bytes, now: float) -> None:
        """A gateway has cancelled queries in `shard`; `now` is `time.monotonic()`, in s.

        Raises:
            WireError: the message is malformed.
        """
        cancellation = unpack_cancellation(message, self._max_bytes)
        now_ms = self._clock.server_us(now) // 1000
        for query_id, expires_at_ms in cancellation.queries:
            key = (cancellation.reply_to, query_id, shard)
            if (stop := self._running.pop(key, None)) is not None:
                self._counters.add("cancelled_running")
                stop()
            elif expires_at_ms > now_ms:
                self._unwanted[key] = expires_at_ms
        self._forget(now_ms)

    def _forget(self, now_ms: int) -> None:
        # About in the order of their ends, since deadlines are much alike.
        while self._unwanted:
            key, expires_at_ms = next(iter(self._unwanted.items()))
            if expires_at_ms > now_ms and len(self._unwanted) <= MOST_REMEMBERED:
                return
            del self._unwanted[key]
