"""What a worker process that joins leaves behind if it ends while it starts, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.state.layout import Layout
from hedgerow.common.state.registry import Registry
from hedgerow.shard_worker.layouts.layout_host import LayoutHost
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration


class SlowStart:
    """Workers of layouts whose start takes until `go_on` is set."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.num_open = 0
        self.has_run = False

    @asynccontextmanager
    async def connect(self, _layout: Layout) -> AsyncIterator[Any]:
        """Open a worker, which holds connections until it is closed."""
        self.num_open += 1
        self.begun.set()
        try:
            await self.go_on.wait()
            yield self
        finally:
            self.num_open -= 1

    def clone_from(self, _old: Any, _pace: Any) -> None:
        """Nothing is cloned."""

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until stopped."""
        self.has_run = True
        await stop.wait()


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "stopped"])
async def test_a_process_that_ends_while_its_first_layout_starts_leaves_nothing_behind(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path, is_cancelled: bool
) -> None:
    """It waits for the start, and ends what it has begun: no worker stays open, no task runs."""
    redis = RedisSettings(url=redis_server.url, key_prefix=key_prefix)
    control = await connect(redis)
    await Registry(control, Keys(key_prefix)).cluster(2)
    await control.close()
    before = asyncio.all_tasks()
    starting, stop = SlowStart(), asyncio.Event()
    host = LayoutHost(Settings(redis=redis, data=tmp_path), "w0", 2, starting.connect)
    running = asyncio.create_task(host.run(stop))
    await starting.begun.wait()
    if is_cancelled:
        running.cancel()
    else:
        stop.set()
    starting.go_on.set()
    with suppress(asyncio.CancelledError):
        await running
    assert starting.has_run
    assert starting.num_open == 0
    assert asyncio.all_tasks() == before
