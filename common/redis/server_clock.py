"""The Redis server's clock, as seen from this process.

Deadlines are sent as instants on that clock, so hosts need not agree on the time. The offset is
estimated as in NTP (RFC 5905, section 8): of recent round trips, the fastest has the least error.
If the newest contradicts it, the server's clock has been set, and all older ones are forgotten.
"""

import time
from collections import deque

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.commands import CommandError
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.handshake import Handshake
from hedgerow.common.runtime.ticks import sleep_to_tick

INTERVAL_S = 5.0
FIRST_SAMPLES = 4  # round trips at each connection, before the first deadline is sent
WINDOW = 8  # round trips kept; old ones are dropped, since clocks drift and servers change
# By how much two clocks drift apart while a round trip is kept: 500 ppm, the fastest that Linux
# slews a clock (adjtimex(2)).
MAX_DRIFT_US = int(WINDOW * INTERVAL_S * 500)


class ServerClock:
    """Estimates the offset between this process's monotonic clock and the server's clock."""

    __slots__ = ("_samples", "offset_us")

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self.offset_us = 0

    @property
    def is_known(self) -> bool:
        """Whether at least one round trip was recorded."""
        return bool(self._samples)

    @property
    def error_us(self) -> float:
        """Bound on the estimate's error: half of the fastest round trip, in µs."""
        return min(self._samples)[0] * 1e6 / 2 if self._samples else float("inf")

    def record(self, sent_at: float, received_at: float, server_us: int) -> None:
        """Take one round trip into account.

        Args:
            sent_at: when TIME was sent, on the monotonic clock, in s.
            received_at: when the answer came, in s.
            server_us: the answer, in µs.
        """
        took_s = received_at - sent_at
        offset_us = server_us - int((sent_at + received_at) / 2 * 1e6)
        if self._samples:
            least_s, known_us = min(self._samples)
            # Each offset is wrong by half of its round trip at most.
            if abs(offset_us - known_us) > (took_s + least_s) / 2 * 1e6 + MAX_DRIFT_US:
                self._samples.clear()
        self._samples.append((took_s, offset_us))
        self.offset_us = min(self._samples)[1]

    def reset(self) -> None:
        """Forget all round trips: another server may answer now."""
        self._samples.clear()

    def server_us(self, now: float) -> int:
        """The server's clock, in µs, at `now` on the monotonic clock, in s."""
        return int(now * 1e6) + self.offset_us

    def monotonic_s(self, server_ms: int) -> float:
        """The instant on the monotonic clock, in s, of `server_ms` on the server's clock, in ms."""
        return (server_ms * 1000 - self.offset_us) / 1e6


async def read_clock(connection: Handshake, clock: ServerClock) -> None:
    """Restart the estimate over a new connection: another server may answer now.

    Raises:
        RedisUnavailableError: the connection was lost.
    """
    clock.reset()
    for _ in range(FIRST_SAMPLES):
        await _sample(connection, clock)


async def keep_clock(connection: RedisConnection, clock: ServerClock) -> None:
    """Keep the estimate fresh until cancelled."""
    while True:
        await sleep_to_tick(INTERVAL_S)
        if connection.is_connected:
            try:
                await _sample(connection, clock)
            except (RedisUnavailableError, CommandError):
                continue  # the next connection restarts the estimate; a busy server is asked again


async def _sample(connection: Handshake | RedisConnection, clock: ServerClock) -> None:
    sent_at = time.monotonic()
    seconds, micros = await connection.call("TIME")
    clock.record(sent_at, time.monotonic(), int(seconds) * 1_000_000 + int(micros))
