"""Notices that the server of the queues hangs, from signs of life that it is asked for."""

import asyncio
from collections.abc import Callable
from typing import Final

from hedgerow.common.redis.commands import pack
from hedgerow.common.redis.connection import RedisConnection

# While queries are in flight, the server is asked for a sign of life this often, in s. One that has
# not answered by the second time after that hangs, and shards that are not heard of are not at
# fault.
PROBE_INTERVAL_S: Final = 0.05
HANGS_AFTER_S: Final = 1.8 * PROBE_INTERVAL_S


class SignsOfLife:
    """Asks the server for signs of life while queries are in flight.

    Attributes:
        is_watching: whether it does so now.
    """

    def __init__(self, push: RedisConnection, has_queries: Callable[[], bool]) -> None:
        """Ask over `push`; `has_queries` says whether queries are in flight."""
        self.is_watching = False
        self._push = push
        self._has_queries = has_queries
        self._hangs = False  # as of the last probe
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Begin to ask; it ends by itself after the last query."""
        self.is_watching = True
        self._timer = asyncio.get_running_loop().call_later(PROBE_INTERVAL_S, self._look)

    def is_silent(self) -> bool:
        """Whether the server hangs."""
        return self._hangs and self._push.overdue_s > 0

    def close(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Have the server owe an answer: requests that it has taken do not show that it hangs."""
        self.is_watching = self._hangs = False
        if not self._has_queries():
            return
        self.watch()
        # Not when a query ends: in a turn of the loop with many ends, nothing is read meanwhile. A
        # timer's callback runs after what had arrived before its turn.
        self._hangs = self._push.overdue_s >= HANGS_AFTER_S
        if self._push.is_connected and not self._push.overdue_s:
            self._push.send(pack("PING"))
