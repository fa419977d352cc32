"""Follows the placement: takes up the shards that it assigns to this worker, and lets go of others.

What is to be done is decided whenever the placement or a worker has changed, and each second, from
what the worker holds then (`steps`). So a worker that was killed half-way, or that has missed
an event, goes on where it is. While Redis is away, the worker keeps what it holds.
"""

import asyncio
import math
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from hedgerow.common.errors import HedgerowError
from hedgerow.common.placement.document import Placement
from hedgerow.common.placement.store import PlacementStore, placed_version
from hedgerow.common.redis.reconcile import reconcile
from hedgerow.common.redis.shared_events import RECONNECTED
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import KeyedTasks, run_together
from hedgerow.shard_worker.context import Context
from hedgerow.shard_worker.placement.copies import Copies
from hedgerow.shard_worker.placement.held_shards import HeldShards
from hedgerow.shard_worker.placement.steps import (
    Failure,
    Situation,
    Steps,
    after_failure,
    next_steps,
    served_elsewhere,
    turn_of,
)

# A new version is announced; this is for an announcement that is lost though nothing reconnects.
READ_AGAIN_S: Final = 10.0
_GAP: Final = "the log no longer has all that this copy lacks, and no snapshot has it"

log = structlog.get_logger()


class PlacementFollower:
    """Makes a worker hold what the placement assigns to it.

    Attributes:
        version: of the placement that is carried out; 0 for none yet.
        stored: the shards whose data is on the disk.
    """

    def __init__(self, context: Context, held: HeldShards, on_change: Callable[[], None]) -> None:
        """Take up shards in `held`; `on_change` is called when there is something to report."""
        self.version = 0
        self.stored: frozenset[int] = frozenset()
        self._context = context
        self._held = held
        self._on_change = on_change
        self._store = PlacementStore(context.control, context.keys)
        self._registry = Registry(context.control, context.keys)
        self._copies = Copies(context.settings.data, ShardLog(context.control, context.keys))
        self._loop = asyncio.get_running_loop()
        self._placement: Placement | None = None
        self._done: Placement | None = None  # what was carried out
        self._wanted: frozenset[int] = frozenset()
        self._turns: dict[int, int] = {}
        self._read_at = -math.inf
        self._must_look = False  # at the disk
        self._waits_for_others = False
        self._dropped: dict[int, float] = {}
        self._safe: frozenset[int] = frozenset()
        self._taking_up: set[int] = set()
        self._letting_go: set[int] = set()
        self._failures: dict[int, Failure] = {}
        self._started_at = self._loop.time()
        self._moves = KeyedTasks[int]()
        self._woken = asyncio.Event()

    async def prepare(self) -> None:
        """Find what is stored; to be called before the first heartbeat and `run`.

        So that heartbeat says what an earlier process with this name may have served.

        Raises:
            OSError: the folder cannot be read.
        """
        await self._copies.tidy()
        self.stored = await self._copies.stored()

    async def run(self) -> None:
        """Follow until cancelled."""
        settings = self._context.settings
        await run_together(
            reconcile("placement_waits", self._look, self._woken, settings.redis.reconnect_max_s),
            self._listen(),
            self._moves.run(),
        )

    def unready(self, gaps: Iterable[int]) -> dict[int, str]:
        """Assigned shard → why it cannot be served: it has a gap, or its last move has failed."""
        reasons = dict.fromkeys(gaps, _GAP)
        reasons |= {shard: failure.reason for shard, failure in self._failures.items()}
        return {shard: reason for shard, reason in reasons.items() if shard in self._wanted}

    async def _look(self) -> None:
        await self._read()
        if self._must_look:
            self._must_look = False
            self.stored = await self._copies.stored()
        if (placement := self._placement) is None:
            return
        # What others serve is read only if this worker has what it could do without.
        every = self.stored.union(self._held.shards)
        steps = self._next_steps(every, every)
        self._waits_for_others = bool(steps.let_go or steps.remove)
        if self._waits_for_others:
            replaced, self._safe = await self._replaced(placement)
            steps = self._next_steps(replaced, self._safe)
        # Without another `await`, since moves may end meanwhile.
        for shard in steps.take_up:
            self._begin(shard, self._taking_up, self._take_up)
        for shard in steps.let_go:
            self._begin(shard, self._letting_go, self._let_go)
        for shard in steps.remove:
            self._begin(shard, self._letting_go, self._copies.remove)
        for shard in (self._held.restorable & self._wanted) - self._letting_go:
            self._begin(shard, self._letting_go, self._held.release)  # and then taken up again
        is_moving = self._taking_up or self._letting_go
        if not is_moving and self._wanted == frozenset(self._held.shards):
            self._carried_out(placement)

    def _next_steps(self, replaced: frozenset[int], safe: frozenset[int]) -> Steps:
        held = frozenset(self._held.shards)
        known = held | self.stored | self._wanted
        self._failures = {shard: one for shard, one in self._failures.items() if shard in known}
        self._dropped = {one: at for one, at in self._dropped.items() if one not in self._wanted}
        situation = Situation(
            held,
            self.stored,
            self._dropped,
            frozenset(self._taking_up),
            frozenset(self._letting_go),
            self._failures,
            self._started_at,
        )
        most = self._context.settings.placement.max_moves
        now = self._loop.time()
        return next_steps(self._wanted, replaced, safe, situation, most, now, self._turns)

    async def _read(self) -> None:
        """Read the placement again, if a new version was announced, and now and then."""
        now = self._loop.time()
        if now - self._read_at < READ_AGAIN_S:
            return
        self._read_at = now  # first: an announcement meanwhile has it read again
        try:
            placement = await self._store.read()
        except BaseException:
            self._read_at = -math.inf
            raise
        if placement is not None:  # if it was lost, the one before is held to
            self._placement = placement
            worker = self._context.worker_id
            assigned = placement.held_by(worker)
            self._wanted = frozenset(one for one in assigned if one < self._context.num_shards)
            self._turns = {one: turn_of(placement, worker, one) for one in self._wanted}

    async def _replaced(self, placement: Placement) -> tuple[frozenset[int], frozenset[int]]:
        """What others serve, and of this, what as many serve as the placement names."""
        expiry_s = self._context.settings.worker.heartbeat_expiry_s
        live = await self._registry.live_heartbeats(expiry_s)
        worker = self._context.worker_id
        served = served_elsewhere(placement, worker, live)
        # Not by how many replicas there should be: if there are too few workers for them, and this
        # one is drained, it may be switched off at any time, and the log would wait for its copy.
        safe = (
            shard
            for shard, number in served.items()
            if number >= len(set(placement.of(shard).holders) - {worker})
        )
        return frozenset(served), frozenset(safe)

    def _carried_out(self, placement: Placement) -> None:
        # Not by the version alone: a failover of Redis may lose the last one, and its number is
        # then given to another.
        if placement != self._done:
            self._done, self.version = placement, placement.version
            log.info("placement_carried_out", version=self.version, shards=list(self._held.shards))
            self._on_change()

    def _begin(self, shard: int, moving: set[int], move: Callable[[int], Awaitable[None]]) -> None:
        moving.add(shard)
        self._moves.start(shard, self._finish(shard, moving, move), name=f"move shard {shard}")

    async def _finish(
        self, shard: int, moving: set[int], move: Callable[[int], Awaitable[None]]
    ) -> None:
        try:
            await move(shard)
            self._failures.pop(shard, None)
        except (HedgerowError, OSError, sqlite3.Error) as error:
            reason, now = str(error) or type(error).__name__, self._loop.time()
            self._failures[shard] = failure = after_failure(self._failures.get(shard), reason, now)
            log.warning(
                "shard_not_moved",
                shard=shard,
                reason=reason,
                again_in_s=round(failure.next_at - now),
            )
        finally:
            moving.discard(shard)
            self._must_look = True
            self._on_change()
            self._woken.set()

    async def _take_up(self, shard: int) -> None:
        began = self._loop.time()
        await self._held.hold(shard)
        took_s = round(self._loop.time() - began, 3)
        log.info("shard_taken_up", shard=shard, was_stored=shard in self.stored, took_s=took_s)

    async def _let_go(self, shard: int) -> None:
        await self._held.release(shard)
        self._dropped[shard] = self._loop.time()
        log.info("shard_let_go", shard=shard)
        if shard in self._safe:  # otherwise, its data is removed by a later step
            await self._copies.remove(shard)

    async def _listen(self) -> None:
        async for event in self._context.control.events(self._context.keys.events):
            if event == RECONNECTED or placed_version(event) is not None:
                self._read_at = -math.inf
                self._woken.set()
            elif event == b"workers" and self._waits_for_others:
                self._woken.set()
