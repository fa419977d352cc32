"""Which of a worker's shards must not be searched.

A caller that has waited for a write must find it, on whichever replica the search lands. A replica
that lacks writes, or may lack some that callers believe it has, is therefore withheld until it has
them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.redis.client import pause_s
from hedgerow.common.shard_log.entries import furthest
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.shard_worker.indexing.open_shards import OpenShards

_log = structlog.get_logger()


async def _at_once(_since: float) -> None:
    """Nothing has to arrive."""


class WithheldShards:
    """Compares shards with their logs, and with what other replicas have applied.

    Attributes:
        gaps: shards that have missed a part of their log.
        behind: shards that have not applied everything that other replicas have announced as
            applied.
        unsure: shards of which that is unknown, see `doubt`.
        changing: shards that the worker is taking up or letting go of.
    """

    def __init__(
        self,
        log: ShardLog,
        shards: OpenShards,
        on_change: Callable[[frozenset[int]], None],
        until_heard: Callable[[float], Awaitable[None]] | None,
        max_pause_s: float,
    ) -> None:
        """Withhold none yet.

        Args:
            log: the logs, and the positions of all replicas.
            shards: those of this worker.
            on_change: called with the shards that must not be searched whenever one has become
                complete, or no longer is.
            until_heard: returns when a heartbeat that was composed at that instant of the loop's
                clock, or later, has arrived; None if there are no heartbeats.
            max_pause_s: longest pause between two attempts to end doubts, in s.
        """
        self.gaps: frozenset[int] = frozenset()
        self.behind: frozenset[int] = frozenset()
        self.unsure: frozenset[int] = frozenset()
        self.changing: frozenset[int] = frozenset()
        self._log = log
        self._shards = shards
        self._on_change = on_change
        self._until_heard = until_heard or _at_once
        self._max_pause_s = max_pause_s
        self._doubted = asyncio.Event()
        self._doubted_at = 0.0

    @property
    def all(self) -> frozenset[int]:
        """Shards that must not be searched, for whichever reason."""
        return self.gaps | self.behind | self.unsure | self.changing

    def forget(self, shard: int) -> None:
        """Forget a shard, which was closed."""
        self.gaps -= {shard}
        self.behind -= {shard}
        self.unsure -= {shard}
        self.changing -= {shard}

    async def check_gap(self, shard: int) -> None:
        """Find out whether a part of the log was removed before the shard had applied it.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        state = self._shards.states[shard]
        missing = await self._log.gap(shard, state.replica_id, state.position)
        if (missing is not None) == (shard in self.gaps):
            return
        if missing is None:
            _log.info("log_gap_closed", shard=shard)
            self.gaps -= {shard}
            self._shards.followed[shard].announced = None
            await self.check_others(shard)
        else:
            _log.error(
                "log_gap",
                shard=shard,
                position=state.position,
                trimmed=missing,
                hint="writes are missing, so the shard is not served; see docs/replicas.md#gaps",
            )
            self.gaps |= {shard}
        self._on_change(self.all)

    async def check_others(self, shard: int) -> None:
        """Find out whether other replicas have announced more than this one has applied.

        Raises:
            RedisUnavailableError: there was no answer.
        """
        known = self._shards.followed[shard]
        known.furthest = furthest(await self._log.applied(shard))
        known.num_checks += 1
        self._set_behind(shard, is_behind=self._shards.is_before(shard, known.furthest))

    def note_position(self, shard: int) -> None:
        """The shard has announced its position: it may have got to where the others were.

        That was a batch ago. Under load, some are always ahead.
        """
        if shard in self.behind:
            known = self._shards.followed[shard]
            if not self._shards.is_before(shard, known.furthest):
                self._set_behind(shard, is_behind=False)

    def note_end(self, shard: int, num_checks: int) -> None:
        """The log has nothing more for the shard.

        Args:
            shard: the shard.
            num_checks: the shard's, when reading began: if others were found to be ahead since
                then, that the log had no more says nothing.
        """
        if num_checks == self._shards.followed[shard].num_checks:
            self._set_behind(shard, is_behind=False)

    def _set_behind(self, shard: int, *, is_behind: bool) -> None:
        if is_behind != (shard in self.behind):
            self.behind ^= {shard}
            _log.info("replica_behind" if is_behind else "replica_caught_up", shard=shard)
            self._on_change(self.all)

    def doubt(self, shards: Collection[int] | None = None) -> None:
        """Withhold shards until it is certain that they have what other replicas have.

        While this worker sends no heartbeats, or none with these shards, callers that wait for a
        write do not wait for it. It must therefore first be heard, and read what others have
        applied after that.

        Args:
            shards: which; None for all.
        """
        doubted = frozenset(self._shards.states if shards is None else shards) - self.unsure
        if not doubted and self._doubted.is_set():
            return
        self._doubted.set()
        self._doubted_at = asyncio.get_running_loop().time()
        self.unsure |= doubted
        self._on_change(self.all)

    async def end_doubts(self) -> None:
        """Find out about doubted shards, until cancelled."""
        failures = 0
        while True:
            await self._doubted.wait()
            self._doubted.clear()
            try:
                await self._until_heard(self._doubted_at)
                for shard in self.unsure:
                    if shard in self._shards.states:
                        await self.check_others(shard)
            except (RedisUnavailableError, ConfigurationError) as error:
                failures += 1
                self._doubted.set()
                _log.debug("replicas_still_unsure", error=str(error))
                await asyncio.sleep(pause_s(failures, self._max_pause_s))
                continue
            failures = 0
            if not self._doubted.is_set():  # otherwise it was silent again meanwhile
                self.unsure = frozenset()
                self._on_change(self.all)
