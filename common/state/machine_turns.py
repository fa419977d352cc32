"""The turns that the worker processes of one machine share, of a split's copies for one.

Four workers that each index for half of the time keep a machine of two cores busy for all of it. So
a machine has as many turns as its cores allow, whatever the number of its workers: leases in Redis,
which expire if a worker dies. What gives way to everything else may take more of them.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.state.versioned import hold_lease

TURN_LEASE_S: Final = 3.0
_ENDED_S: Final = 0.001  # a lease cannot be given back, but it can end soon


class MachineTurns:
    """The turns of one machine, as one of its workers takes them."""

    def __init__(
        self,
        control: RedisClient,
        key: Callable[[int], str],
        *,
        worker: str,
        lease_s: float = TURN_LEASE_S,
    ) -> None:
        """Take turns for a worker.

        Args:
            control: Redis.
            key: the name of a turn's key by the turn's number; the same in all of the machine's
                workers.
            worker: the worker's id.
            lease_s: for how long a turn lasts if it is neither renewed nor ended, in s.
        """
        self._control = control
        self._key = key
        self._worker = worker
        self._lease_s = lease_s
        self._held: dict[int, tuple[str, float]] = {}  # shard → the lease, and when to renew it

    async def hold(self, shard: int, at_once: int) -> bool:
        """Take one of `at_once` turns for a shard, or keep it; return whether it has one now.

        Raises:
            RedisUnavailableError: there was no answer in time.
        """
        now = asyncio.get_running_loop().time()
        held, renew_at = self._held.pop(shard, ("", now))
        if now < renew_at:
            self._held[shard] = held, renew_at
            return True
        # Who may take more turns than others leaves them those that they may take.
        turns = [self._key(number) for number in reversed(range(at_once))]
        taken = {lease for lease, _ in self._held.values()}
        for turn in [held] if held else [one for one in turns if one not in taken]:
            if await hold_lease(self._control, turn, self._holder(shard), self._lease_s):
                self._held[shard] = turn, now + self._lease_s / 2
                return True
        return False

    async def end(self, shard: int) -> None:
        """Let another shard have the turn.

        Raises:
            RedisUnavailableError: there was no answer in time; the turn ends by itself.
        """
        held, _ = self._held.pop(shard, ("", 0.0))
        if held:
            await hold_lease(self._control, held, self._holder(shard), _ENDED_S)

    def forget(self, shard: int) -> None:
        """Renew a shard's turn no longer: it ends by itself."""
        self._held.pop(shard, None)

    def _holder(self, shard: int) -> str:
        return f"{self._worker}:{shard}"
