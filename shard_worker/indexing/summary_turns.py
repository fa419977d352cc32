"""The turns in which the workers of a machine make summaries.

Each is 0.1 s of CPU time for a shard of 6,000 documents, in a thread that is nicer than a scorer.
On two cores, half of the searches took 25 ms instead of 16 beside one of them, and 75 beside two.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.cores import num_cores
from hedgerow.common.state.machine_turns import MachineTurns

CORES_OF_A_TURN: Final = 2
LEASE_S: Final = 30.0  # most summaries take less; if not, there is one more than there should be


class SummaryTurns:
    """The turns of one machine, as one of its workers takes them."""

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        *,
        host: str,
        worker: str,
        lease_s: float = LEASE_S,
        at_once: int | None = None,
    ) -> None:
        """Take turns for a worker.

        Args:
            control: Redis.
            keys: the names of keys of any layout.
            host: the machine's name, the same in all of its workers.
            worker: the worker's id.
            lease_s: after how long another worker may have the turn of one that hangs, in s.
            at_once: how many turns the machine has; None for one for each two cores.
        """
        key = partial(keys.summary_turn, host)
        self._turns = MachineTurns(control, key, worker=worker, lease_s=lease_s)
        self._at_once = max(1, num_cores() // CORES_OF_A_TURN) if at_once is None else at_once

    @asynccontextmanager
    async def turn(self, shard: int) -> AsyncIterator[bool]:
        """Take a turn for a shard, which lasts until the block ends, if one is free.

        Yields:
            Whether there is one.

        Raises:
            RedisUnavailableError: there was no answer in time.
        """
        has_turn = await self._turns.hold(shard, self._at_once)
        try:
            yield has_turn
        finally:
            with suppress(RedisUnavailableError):  # it ends by itself
                await self._turns.end(shard)
