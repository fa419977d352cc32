"""A worker that exists as heartbeats alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat

_EVERY_S = 0.3


@asynccontextmanager
async def beating(
    control: RedisClient,
    registries: Sequence[Registry],
    worker: str,
    shards: Sequence[int] = (),
    *,
    host: str = "here",
) -> AsyncIterator[None]:
    """Let `worker` live in these layouts during the block; it is forgotten at its end.

    Without shards, it is one whose (no) shards are pinned: a split goes no further while it lives.
    """

    async def beat() -> None:
        heartbeat = Heartbeat(worker, 1, host, list(shards), "1", await control.now_ms(), 0)
        for registry in registries:
            await registry.beat(heartbeat)

    async def go_on() -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await beat()

    await beat()
    going_on = asyncio.create_task(go_on())
    try:
        yield
    finally:
        going_on.cancel()
        with suppress(asyncio.CancelledError):
            await going_on
        for registry in registries:
            await registry.forget_worker(worker)
