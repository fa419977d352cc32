"""Watches whether this worker is on probation, and which shards' requests it then leaves to others.

Gateways limit how many workers they put on probation, but each sees the cluster a moment late. So
the worker checks the heartbeats of the others itself: it leaves a shard's requests to others only
while another live worker that is not on probation serves the shard. The last worker goes on
serving, however slow it is.

The death of another worker is unknown until its heartbeat has expired. So the queues that are left
to others are watched: if the same request is at the head of a queue for `WAITS_S`, no worker is
free to take it, and this worker helps for `HELPS_S`.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.probation import EVENT, ProbationEntry, ProbationStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import run_together
from hedgerow.common.wire.heartbeat import Heartbeat

log = structlog.get_logger()

WAITS_S: Final = 0.05
HELPS_S: Final = 1.0
_QUIET_INTERVALS: Final = 4


def shards_to_leave(
    worker: str,
    shards: Iterable[int],
    entries: Mapping[str, ProbationEntry],
    heartbeats: Mapping[str, Heartbeat],
    now_ms: int,
    expiry_ms: float,
) -> frozenset[int]:
    """The shards whose requests a worker leaves to others.

    Args:
        worker: the worker's id.
        shards: those that it serves.
        entries: worker id → its entry, for the workers on probation.
        heartbeats: worker id → its last heartbeat; that of `worker` is not needed.
        now_ms: an instant on the Redis server's clock.
        expiry_ms: after this time without a heartbeat, a worker is not live.
    """
    out = {one for one, entry in entries.items() if entry.is_valid(now_ms)}
    if worker not in out:
        return frozenset()
    taken = frozenset(
        shard
        for other, heartbeat in heartbeats.items()
        if other not in out and now_ms - heartbeat.beat_at_ms < expiry_ms
        for shard in heartbeat.shards
    )
    return taken.intersection(shards)


class _Queue(NamedTuple):
    """A queue of a shard."""

    shard: int
    key: str


class ProbationWatch:
    """Keeps `leaves` up to date until cancelled.

    Attributes:
        leaves: the shards whose requests are left to others now.
    """

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        worker_id: str,
        shards: Callable[[], Iterable[int]],
        server_ms: Callable[[], int],
        interval_s: float,
        expiry_s: float,
        on_change: Callable[[], None],
    ) -> None:
        """Watch one worker.

        Args:
            control: Redis.
            keys: the names of everything in Redis.
            worker_id: this worker's name.
            shards: returns those that it serves.
            server_ms: the Redis server's clock.
            interval_s: how often to look while on probation, in s; otherwise a quarter as often,
                and at each announced change.
            expiry_s: after this time without a heartbeat, a worker is not live.
            on_change: called whenever `leaves` has changed.
        """
        self.leaves: frozenset[int] = frozenset()
        self._control = control
        self._keys = keys
        self._loop = asyncio.get_running_loop()
        self._helps_until: dict[int, float] = {}
        self._is_leaving = asyncio.Event()
        self._throttle = Throttle(60.0)
        self._store = ProbationStore(control, keys)
        self._registry = Registry(control, keys)
        self._id = worker_id
        self._shards = shards
        self._server_ms = server_ms
        self._interval_s = interval_s
        self._expiry_ms = expiry_s * 1000
        self._on_change = on_change
        self._entries: Mapping[str, ProbationEntry] = {}
        self._heartbeats: Mapping[str, Heartbeat] = {}
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        await run_together(self._look(), self._listen(), self._look_after())

    async def look(self) -> None:
        """Look once; while Redis is unavailable, the entries that were read last apply."""
        try:
            self._entries = await self._store.entries()
            # A worker that is not on probation, as is usual, need not read the heartbeats.
            if self._id in self._entries:
                heartbeats = await self._registry.heartbeats()
                self._heartbeats = self._registry.dated(heartbeats, self._server_ms())
        except (RedisUnavailableError, ConfigurationError) as error:
            log.debug("probation_unknown", error=str(error))
        self._decide()

    def _decide(self) -> None:
        now = self._loop.time()
        leaves = shards_to_leave(
            self._id,
            self._shards(),
            self._entries,
            self._heartbeats,
            self._server_ms(),
            self._expiry_ms,
        )
        leaves -= {shard for shard, until in self._helps_until.items() if until > now}
        if leaves != self.leaves:
            self.leaves = leaves
            if leaves:
                self._is_leaving.set()
            else:
                self._is_leaving.clear()
            self._on_change()

    async def _look(self) -> None:
        while True:
            self._woken.clear()
            await self.look()
            # Each entry is announced, and then read at once. Only while this worker has an entry
            # does the passing of time change anything.
            is_on = self._id in self._entries
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s * (1 if is_on else _QUIET_INTERVALS)):
                    await self._woken.wait()

    async def _look_after(self) -> None:
        before: dict[_Queue, bytes | None] = {}
        while True:
            await self._is_leaving.wait()
            heads = await self._heads()
            waits = {
                queue.shard
                for queue, head in heads.items()
                if head is not None and head == before.get(queue)
            }
            before = heads
            if waits:
                if self._throttle.allows("helps", self._loop.time()):
                    log.warning("probation_helps", worker=self._id, shards=sorted(waits))
                self._helps_until |= dict.fromkeys(waits, self._loop.time() + HELPS_S)
                self._decide()
            await asyncio.sleep(WAITS_S)

    async def _heads(self) -> "dict[_Queue, bytes | None]":
        """Queue → the request at its head, for the queues that are left to others."""
        keys = self._keys
        queues = [
            _Queue(shard, key)
            for shard in sorted(self.leaves)
            for key in (keys.search_queue(shard), keys.fetch_queue(shard))
        ]
        try:
            heads = await self._control.pipeline_of_shards(
                [(queue.shard, ("LINDEX", queue.key, 0)) for queue in queues]
            )
        except (RedisUnavailableError, ConfigurationError):
            return {}
        return dict(zip(queues, heads, strict=True))

    async def _listen(self) -> None:
        async for event in self._control.events(self._keys.events):
            # The only other worker may have gone, or another may have come.
            if event in (EVENT.encode(), b"workers", b"reconnected"):
                self._woken.set()
