"""Hears whether this worker is on probation, and decides which shards' requests it then leaves.

Gateways bound what they put on probation, but each sees the cluster a moment late. So the worker
looks for itself, at the heartbeats of the others: it leaves a shard's requests alone only while
another live worker that is not on probation takes them. The last one serves on, however slow it is.

Until the heartbeat of another has expired, its death is unknown. So what is left to others is
looked after: when the same request heads a queue for `WAITS_S`, no worker is free to take it,
and this worker helps for a while.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.probation import EVENT, ProbationStore, Word
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
    words: Mapping[str, Word],
    heartbeats: Mapping[str, Heartbeat],
    now_ms: int,
    expiry_ms: float,
) -> frozenset[int]:
    """The shards whose requests a worker leaves to others.

    Args:
        worker: the worker's id.
        shards: those that it serves.
        words: worker id → what is said of it.
        heartbeats: worker id → its last heartbeat; with that of `worker` or without.
        now_ms: an instant on the Redis server's clock.
        expiry_ms: after this time without a heartbeat, a worker is not live.
    """
    out = {one for one, word in words.items() if word.until_ms > now_ms}
    if worker not in out:
        return frozenset()
    taken = frozenset(
        shard
        for other, heartbeat in heartbeats.items()
        if other not in out and now_ms - heartbeat.beat_at_ms < expiry_ms
        for shard in heartbeat.shards
    )
    return taken.intersection(shards)


class ProbationWatch:
    """Keeps `leaves` true until cancelled.

    Attributes:
        leaves: shards whose requests are left to others now.
    """

    def __init__(
        self,
        control: RedisClient,
        keys: Keys,
        worker_id: str,
        shards: tuple[int, ...],
        server_ms: Callable[[], int],
        interval_s: float,
        expiry_s: float,
        on_change: Callable[[], None],
    ) -> None:
        """Watch over one worker.

        Args:
            control: Redis.
            keys: the names under which everything lies.
            worker_id: this worker's name.
            shards: those that it serves.
            server_ms: the Redis server's clock.
            interval_s: how often to look while on probation; else four times as rarely, beside
                each announced change.
            expiry_s: after this time without a heartbeat, a worker is not live.
            on_change: told each time that `leaves` is another.
        """
        self.leaves: frozenset[int] = frozenset()
        self._control = control
        self._events = keys.events
        self._queues = {
            queue: shard
            for shard in shards
            for queue in (keys.search_queue(shard), keys.fetch_queue(shard))
        }
        self._loop = asyncio.get_running_loop()
        self._helps_until: dict[int, float] = {}
        self._is_leaving = asyncio.Event()
        self._throttle = Throttle(60.0)
        self._board = ProbationStore(control, keys)
        self._registry = Registry(control, keys)
        self._id = worker_id
        self._shards = shards
        self._server_ms = server_ms
        self._interval_s = interval_s
        self._expiry_ms = expiry_s * 1000
        self._on_change = on_change
        self._words: Mapping[str, Word] = {}
        self._heartbeats: Mapping[str, Heartbeat] = {}
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        await run_together(self._look(), self._listen(), self._look_after())

    async def look(self) -> None:
        """Look once; what was read last stands, until it ends, while Redis is away."""
        try:
            self._words = await self._board.words()
            # A worker that is not on probation, as most are, need not know of the others.
            if self._id in self._words:
                self._heartbeats = await self._registry.heartbeats()
        except (RedisUnavailableError, ConfigurationError) as error:
            log.debug("probation_unknown", error=str(error))
        self._decide()

    def _decide(self) -> None:
        now = self._loop.time()
        leaves = shards_to_leave(
            self._id,
            self._shards,
            self._words,
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
            # Each word is announced, so that it is read at once; only while there is one does the
            # passing of time change anything.
            is_on = self._id in self._words
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s * (1 if is_on else _QUIET_INTERVALS)):
                    await self._woken.wait()

    async def _look_after(self) -> None:
        before: dict[str, bytes | None] = {}
        while True:
            await self._is_leaving.wait()
            heads = await self._heads()
            waits = {
                self._queues[queue]
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

    async def _heads(self) -> dict[str, bytes | None]:
        """The requests that come next in each queue that is left to others."""
        queues = [queue for queue, shard in self._queues.items() if shard in self.leaves]
        try:
            heads = await self._control.pipeline([("LINDEX", queue, 0) for queue in queues])
        except (RedisUnavailableError, ConfigurationError):
            return {}
        return dict(zip(queues, heads, strict=True))

    async def _listen(self) -> None:
        async for event in self._control.events(self._events):
            # The last other worker may have gone, or another one come.
            if event in (EVENT.encode(), b"workers", b"reconnected"):
                self._woken.set()
