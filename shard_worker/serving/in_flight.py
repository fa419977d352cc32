"""The requests that a worker has pulled, and those that were cancelled before it pulled them.

A gateway announces on a shard's cancel channel which queries no longer need that shard: the caller
has left, enough replies have arrived, or another copy has won. A running request is stopped through
its budget. A request that this worker has not pulled yet is remembered until it expires, and
dropped when it is pulled: searching the queue for it would cost Redis time that grows with the
queue's length.
"""

import asyncio
from collections.abc import Callable

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.server_clock import ServerClock
from hedgerow.common.wire.messages import Request, unpack_cancellation

# What makes a request unique: the gateway's reply channel, its query, and the shard.
Key = tuple[str, int, int]

MOST_REMEMBERED = 20_000  # some MB; beyond it the oldest are forgotten, and answered in vain


class InFlight:
    """Knows which requests run here, and which were cancelled before they were pulled."""

    def __init__(self, clock: ServerClock, counters: Counters, max_message_bytes: int) -> None:
        """Nothing is known yet."""
        self._clock = clock
        self._counters = counters
        self._max_bytes = max_message_bytes
        self._running: dict[Key, Callable[[], object]] = {}
        self._unwanted: dict[Key, int] = {}  # → when it expires, in ms on the server's clock
        self._awaited: asyncio.Event | None = None  # set at each end while an end is waited for

    def has(self, shard: int, request: Request) -> bool:
        """Whether this worker has another copy of a request."""
        return self.is_running((request.reply_to, request.query_id, shard))

    def is_running(self, key: Key) -> bool:
        """Whether a request of this key runs here."""
        return key in self._running

    def begin(self, key: Key, stop: Callable[[], object]) -> None:
        """A request has been given to a lane; `stop` cancels it there."""
        self._running[key] = stop

    def end(self, key: Key) -> bool:
        """A request has ended; returns whether it was still wanted then."""
        if self._awaited is not None:
            self._awaited.set()
        return self._running.pop(key, None) is not None

    async def drain(self, shard: int, timeout_s: float) -> None:
        """Wait until no request of a shard runs here, for at most `timeout_s`; then stop the rest.

        No other shard may be drained at the same time.
        """
        self._awaited = ended = asyncio.Event()
        try:
            async with asyncio.timeout(timeout_s):
                while any(key[2] == shard for key in self._running):
                    ended.clear()
                    await ended.wait()
        except TimeoutError:
            for key in [key for key in self._running if key[2] == shard]:
                self._running.pop(key)()
        finally:
            self._awaited = None

    def is_unwanted(self, shard: int, request: Request) -> bool:
        """Whether a request that was just pulled had been cancelled; forgets the cancellation."""
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
        # In order of arrival, which is nearly that of expiry, since deadlines are alike.
        while self._unwanted:
            key, expires_at_ms = next(iter(self._unwanted.items()))
            if expires_at_ms > now_ms and len(self._unwanted) <= MOST_REMEMBERED:
                return
            del self._unwanted[key]
