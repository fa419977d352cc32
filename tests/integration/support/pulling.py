"""A consumer at work against a real server, and the slots that it pulls into."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.shard_worker.serving.consumer import OWN_QUEUE, Consumer
from hedgerow.shard_worker.serving.pull_policy import Pulled, PullPolicy
from hedgerow.shard_worker.serving.replier import Replier
from hedgerow.shard_worker.serving.turn import Turn
from tests.support.servers import RedisServer

LONG_S: Final = 1800.0


@dataclass
class Slots:
    """A lane of this many slots, which the test frees by hand."""

    free: int
    is_quick: bool = False
    is_current: Callable[[], bool] = lambda: True
    pulled: list[tuple[int, bytes]] = field(default_factory=list)
    dropped: list[bytes] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def room(self) -> int:
        """How many are free; none where more was taken than there was room for."""
        return max(0, self.free)

    async def wait_for_room(self) -> int:
        """Wait until a slot is free."""
        while self.free <= 0:
            self._changed.clear()
            await self._changed.wait()
        return self.free

    def ends_soon(self) -> bool:
        """What the test has set."""
        return self.is_quick

    def cork(self) -> None:
        """A pull is handed over."""

    def uncork(self) -> None:
        """That was all of it."""

    def handle(self, pulled: list[Pulled]) -> None:
        """Take a slot for each request, but for one that has expired."""
        for message, shards in pulled:
            if message.startswith(b"expired"):
                self.dropped += [message] * len(shards)
            else:
                self.free -= len(shards)
                self.pulled += [(shard, message) for shard in shards]

    def release(self, count: int) -> None:
        """Free this many slots."""
        self.free += count
        self._changed.set()


@dataclass
class Pulling:
    """A consumer at work, and a connection to look at its queues."""

    consumer: Consumer
    turn: Turn
    replier: Replier
    link: RedisConnection
    task: asyncio.Task[None]
    prefix: str

    def queue(self, shard: int) -> str:
        """The queue of one of its shards."""
        return f"{self.prefix}:{shard}"

    async def push(self, shard: int, *messages: str) -> None:
        """Queue requests."""
        await self.link.call("RPUSH", self.queue(shard), *messages)

    async def is_blocked(self) -> bool:
        """Whether the server has a pop that waits: the consumer's, which has the server alone."""
        clients: bytes = await self.link.call("INFO", "clients")
        return b"blocked_clients:1\r" in clients

    async def waiting(self, shard: int) -> int:
        """How many requests wait in Redis."""
        return int(await self.link.call("LLEN", self.queue(shard)))


@asynccontextmanager
async def pulling(
    server: RedisServer,
    prefix: str,
    slots: Slots,
    silence_s: float = 5.0,
    order: PullOrder | None = None,
    own_queue: str | None = None,
    control: RedisConnection | None = None,
) -> AsyncIterator[Pulling]:
    """A consumer of shards 4 and 7 for the block; without `control`, it replies over `link`."""
    redis = RedisSettings(url=server.url, command_timeout_s=silence_s)
    link = RedisConnection(Endpoint.of(redis), name="test", silence_s=5)
    await link.start(5)
    replier = Replier(control or link, "w1", Counters(), 10_000)
    its_turn = Turn(replier, lambda: slots.is_current())  # noqa: PLW0108 - a test replaces it
    policy = None if order is None else PullPolicy(order, _spent_share)
    consumer = Consumer(
        redis,
        Endpoint.of(redis),
        "test-consumer",
        control or link,
        slots,
        replier,
        policy,
    )
    for shard in (4, 7):
        consumer.add(f"{prefix}:{shard}", shard)
    if own_queue is not None:
        consumer.add(own_queue, OWN_QUEUE)
    task = asyncio.create_task(its_turn.serve(consumer, slots.handle))
    try:
        yield Pulling(consumer, its_turn, replier, link, task, prefix)
    finally:
        await consumer.drain()
        await link.close()


def _spent_share(message: bytes, _now: float) -> float:
    return {b"expired": 2.0, b"fresh": 0.1}.get(message.partition(b"-")[0], 0.5)
