"""The turns in which the workers of a machine make summaries: one at a time.

Each is 0.1 s of CPU time for a shard of 6,000 documents, in a thread that is nicer than a scorer.
On two cores, half of the searches took 25 ms instead of 16 beside one of them, and 75 beside two.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.versioned import hold_lease

LEASE_S: Final = 30.0  # most summaries take less; if not, two are made at a time
_ENDED_S: Final = 0.001  # a lease cannot be given back, but it can end soon


class SummaryTurns:
    """The turns of one machine, as one of its workers takes them."""

    def __init__(self, control: RedisClient, keys: Keys, *, host: str, worker: str) -> None:
        """Take turns for a worker.

        Args:
            control: Redis.
            keys: the names of keys of any layout.
            host: the machine's name, the same in all of its workers; "" for what the system says.
            worker: the worker's id.
        """
        self._control = control
        self._key = keys.summary_turn(host or socket.gethostname())
        self._worker = worker

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """Take the turn, which lasts until the block ends, if it is free.

        Yields:
            Whether this worker has it now.

        Raises:
            RedisUnavailableError: there was no answer in time.
        """
        has_turn = await hold_lease(self._control, self._key, self._worker, LEASE_S)
        try:
            yield has_turn
        finally:
            if has_turn:
                with suppress(RedisUnavailableError):  # it ends by itself
                    await hold_lease(self._control, self._key, self._worker, _ENDED_S)
