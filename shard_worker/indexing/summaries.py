"""Makes the summaries by which gateways see that a shard cannot match a search.

`common.state.summaries` has the steps, and why they are safe. One replica of a shard makes the
summary, whichever claims it first, when the collection has not been written to for a second: a
summary that is retracted at once is of no use.
"""

import asyncio
import math
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, NamedTuple, Protocol

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError, WorkError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.runtime.ticks import sleep_to_tick
from hedgerow.common.shard_log.entries import position
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.batched import batched
from hedgerow.common.state.summaries import Stamped, is_claim, is_of, stamp_of
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.shard_report import ShardState

TICK_S: Final = 1.0
LOOK_S: Final = 30.0  # how often all stamps are read: a replica that starts retracts them
QUIET_S: Final = 1.0  # a collection that was not written to for this time may stay as it is
CLAIM_S: Final = 30.0  # a claim that is older is of a worker that has died
APPLIED_WITHIN_S: Final = 1.0
_POLL_S: Final = 0.02
_LOOKED_AT_ONCE: Final = 1000  # what is compared in one turn of the event loop, in 1 or 2 ms
# After a failover, replicas may have applied entries that the log lacks until they restore them.
SETTLED_AFTER_S: Final = 10.0
# How many times as long as a summary took no other is made: a twentieth of a core is used at most.
REST: Final = 20.0

_log = structlog.get_logger()


class Store(Protocol):
    """Where summaries are; a `SummaryStore`."""

    async def identity(self) -> str:
        """Which server this is."""

    async def stamps(self, uid: str, shards: Sequence[int]) -> dict[int, bytes]:
        """Shard → its stamp, or a claim; b"" if there is neither."""

    async def claim(self, uid: str, shard: int, before: bytes, token: str) -> bool:
        """Claim the making of a summary."""

    async def put(self, uid: str, shard: int, token: str, stamped: Stamped) -> bool:
        """Replace a claim by a summary."""

    async def retract(self, shard: int, uids: Iterable[str]) -> None:
        """Remove stamps or claims."""


class Replicas(Protocol):
    """What this worker holds."""

    def states(self) -> dict[int, ShardState]:
        """Shard → what it holds, of those that are complete and may be summarised."""

    async def newest(self, shard: int) -> str:
        """The newest entry of a shard's log."""

    def version(self, shard: int) -> tuple[int, int]:
        """Differs after a failover of the servers that matter to a shard."""

    async def summary(self, shard: int, uid: str) -> bytes:
        """A summary of what the shard holds now; b"" if it cannot be summarised."""


class Seen(NamedTuple):
    """What was seen of a collection on a shard, and since when it is so.

    Attributes:
        changes: how often the collection was changed there.
        changed_at: when that was last seen to grow.
        stamp: of its summary.
        stamped_at: since when that is the stamp.
    """

    changes: int
    changed_at: float
    stamp: bytes
    stamped_at: float

    def now(self, changes: int, stamp: bytes, now: float) -> "Seen":
        """What is seen now."""
        if self.changes == changes and self.stamp == stamp:
            return self
        return Seen(
            changes,
            self.changed_at if self.changes == changes else now,
            stamp,
            self.stamped_at if self.stamp == stamp else now,
        )


def is_due(seen: Seen, identity: str, now: float) -> bool:
    """Whether a summary should be made.

    Args:
        seen: what was seen of the collection on the shard.
        identity: the server's.
        now: in s.
    """
    if now - seen.changed_at < QUIET_S:
        return False
    if is_claim(seen.stamp):
        return now - seen.stamped_at >= CLAIM_S
    return not is_of(seen.stamp, identity)


class SummaryMaker:
    """Makes the summaries of a worker's shards."""

    def __init__(
        self,
        store: Store,
        replicas: Replicas,
        rest: float = REST,
        turn: Callable[[int], AbstractAsyncContextManager[bool]] = lambda _: nullcontext(True),
    ) -> None:
        """Store summaries of `replicas` in `store`.

        Args:
            store: where they are.
            replicas: makes them.
            rest: how many times as long as a summary took no other is made.
            turn: whether to make one of a shard now; see `SummaryTurns.turn`.
        """
        self._rest = rest
        self._turn = turn
        self._store = store
        self._replicas = replicas
        self._seen: dict[tuple[int, str], Seen] = {}
        self._impossible: dict[tuple[int, str], int] = {}  # → changes at which it was
        self._versions: dict[int, tuple[tuple[int, int], float]] = {}
        self._rests_until = -math.inf
        self._looked_at = -math.inf
        self._now = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Make what is due until cancelled."""
        while True:
            try:
                await self.tick()
            except (RedisUnavailableError, ConfigurationError, WorkError) as error:
                _log.debug("summaries_wait", error=str(error))
            await sleep_to_tick(TICK_S)

    async def tick(self) -> None:
        """Look at all shards once, and make what is due.

        Raises:
            RedisUnavailableError, ConfigurationError, WorkError: something cannot be done now.
        """
        states = self._replicas.states()
        if not self._seen and not any(state.collections for state in states.values()):
            return
        identity = await self._store.identity()
        await self._look(states, identity)
        now = self._now()
        due: list[tuple[int, str]] = []
        for some in batched(self._seen.items(), _LOOKED_AT_ONCE):
            await asyncio.sleep(0)
            due += [key for key, seen in some if is_due(seen, identity, now)]
        for key in sorted(due, key=lambda key: self._seen[key].stamped_at):
            if self._now() < self._rests_until:
                return
            if self._impossible.get(key) != self._seen[key].changes and self._is_settled(key[0]):
                async with self._turn(key[0]) as has_turn:
                    if not has_turn:
                        return  # other workers of this machine make some
                    await self._make(*key, identity)

    async def _look(self, states: dict[int, ShardState], identity: str) -> None:
        """See what has changed; stamps of what has not are read now and then."""
        held: dict[str, dict[int, int]] = {}
        for shard, state in states.items():
            await asyncio.sleep(0)
            for report in state.collections:
                held.setdefault(report.uid, {})[shard] = report.changes
        before, now = self._seen, self._now()
        is_full = now - self._looked_at >= LOOK_S
        self._looked_at = now if is_full else self._looked_at
        self._seen, turn_ends_at = {}, 0
        for uid, changes in held.items():
            if len(self._seen) >= turn_ends_at:
                await asyncio.sleep(0)
                turn_ends_at = len(self._seen) + _LOOKED_AT_ONCE
            known = {shard: before.get((shard, uid), Seen(-1, now, b"", now)) for shard in changes}
            asked = [
                shard
                for shard, number in changes.items()
                if is_full
                or known[shard].changes != number
                or not is_of(known[shard].stamp, identity)
            ]
            stamps = await self._store.stamps(uid, asked) if asked else {}
            now = self._now()
            for shard, number in changes.items():
                self._seen[shard, uid] = known[shard].now(
                    number, stamps.get(shard, known[shard].stamp), now
                )
        self._impossible = {
            key: changes for key, changes in self._impossible.items() if key in self._seen
        }

    def _is_settled(self, shard: int) -> bool:
        """Whether the last failover was long enough ago."""
        version, now = self._replicas.version(shard), self._now()
        known = self._versions.get(shard)
        if known is None:  # replicas restore what was lost as soon as they connect
            known = self._versions[shard] = version, -math.inf
        elif known[0] != version:
            known = self._versions[shard] = version, now
        return now - known[1] >= SETTLED_AFTER_S

    async def _make(self, shard: int, uid: str, identity: str) -> None:
        token, seen = secrets.token_hex(8), self._seen[shard, uid]
        version = self._replicas.version(shard)
        if not await self._store.claim(uid, shard, seen.stamp, token):
            return  # another replica makes it
        summary = b""
        if await self._has_applied(shard, await self._replicas.newest(shard)):
            began = self._now()
            summary = await self._replicas.summary(shard, uid)
            self._rests_until = self._now() + self._rest * (self._now() - began)
            if not summary:
                self._impossible[shard, uid] = seen.changes
        if not summary or version != self._replicas.version(shard):
            await self._store.retract(shard, [uid])
            return
        stamped = Stamped(stamp_of(identity, token).encode(), summary)
        is_put = await self._store.put(uid, shard, token, stamped)
        _log.debug("summary_made", shard=shard, uid=uid, bytes=len(summary), is_put=is_put)

    async def _has_applied(self, shard: int, newest: str) -> bool:
        """Wait until a shard has applied an entry of its log; False if that takes too long."""
        until = self._now() + APPLIED_WITHIN_S
        while (state := self._replicas.states().get(shard)) is not None:
            if position(state.position) >= position(newest):
                return True
            if self._now() >= until:
                return False
            await asyncio.sleep(_POLL_S)
        return False


class SummarisedShards:
    """The shards of this worker, as `Replicas`."""

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        applier: Applier,
        indexer: IndexerClient,
        max_bytes: int,
        is_needed: Callable[[], bool] = lambda: True,
    ) -> None:
        """Summarise the shards of `applier`.

        Args:
            control: Redis.
            keys: the names of everything in Redis.
            applier: knows what the shards hold.
            indexer: makes the summaries.
            max_bytes: most bytes of each.
            is_needed: whether to make summaries now. Those of a split's target are not read until
                it is searched, and would then delay searches while the source's processes end.
        """
        self._control = control
        self._log = ShardLog(control, keys)
        self._applier = applier
        self._indexer = indexer
        self._max_bytes = max_bytes
        self._is_needed = is_needed

    def states(self) -> dict[int, ShardState]:
        """Shard → what it holds, of those that are complete and may be summarised."""
        applier = self._applier
        if not self._is_needed():
            return {}
        if any(applier.progress()["set_aside"].values()):
            return {}  # other replicas may have indexed what this one could not
        return {
            shard: state for shard, state in applier.states.items() if shard not in applier.withheld
        }

    async def newest(self, shard: int) -> str:
        """The newest entry of a shard's log."""
        return await self._log.newest(shard)

    def version(self, shard: int) -> tuple[int, int]:
        """Differs after a failover of the servers that matter to a shard."""
        return self._control.primary.version, self._log.primary(shard).version

    async def summary(self, shard: int, uid: str) -> bytes:
        """A summary of what the shard holds now; b"" if it cannot be summarised."""
        return await self._indexer.summary(shard, uid, self._max_bytes)
