"""When worker processes that join start and end what serves a layout, on a real server."""

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
from hedgerow.common.splitting.policy import abandon, begin
from hedgerow.common.state.layout import ClusterLayout, Layout, LayoutStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import end
from hedgerow.shard_worker.layouts.layout_host import LayoutHost
from tests.support.servers import RedisServer
from tests.support.waiting import until

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


class Machine:
    """Workers whose processes take a moment to start, and to end.

    Attributes:
        serving: the id of each layout that is served, once for each worker.
        most_at_once: how many have started or ended the processes of new shards at the same time.
    """

    def __init__(self) -> None:
        self.serving: list[int] = []
        self.most_at_once = 0
        self._num_now = 0

    @asynccontextmanager
    async def connect(self, layout: Layout) -> AsyncIterator[Any]:
        """Make a worker."""
        yield WorkerThere(self, layout)

    async def take_a_moment(self) -> None:
        """Keep a core busy."""
        self._num_now += 1
        self.most_at_once = max(self.most_at_once, self._num_now)
        await asyncio.sleep(0.1)
        self._num_now -= 1


class WorkerThere:
    """A worker of one layout there, without shards."""

    def __init__(self, machine: Machine, layout: Layout) -> None:
        self.is_ready = False
        self.served: list[int] = []
        self.num_waiting = 0
        self._machine = machine
        self._layout = layout

    def clone_from(self, _old: Any, _pace: Any) -> None:
        """Nothing is cloned."""

    def count_only_when_asked(self, *, only_asked: bool) -> None:
        """Nothing is counted."""

    async def run(self, stop: asyncio.Event) -> None:
        """Start, serve until stopped, and end."""
        machine, number = self._machine, self._layout.id
        if number:
            await machine.take_a_moment()
        self.is_ready = True
        machine.serving.append(number)
        await stop.wait()
        if number:
            await machine.take_a_moment()
        machine.serving.remove(number)


async def test_the_workers_of_a_machine_take_turns_to_start_and_to_end_new_shards(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """Those of the first layout start at once; a search never waits for all of them together."""
    redis = RedisSettings(url=redis_server.url, key_prefix=key_prefix)
    control = await connect(redis)
    store, machine = LayoutStore(control, Keys(key_prefix)), Machine()
    await Registry(control, Keys(key_prefix)).cluster(2)
    hosts = [
        LayoutHost(Settings(redis=redis, data=tmp_path / name), name, 2, machine.connect)
        for name in ("w0", "w1", "w2")
    ]
    running = [asyncio.create_task(host.run(asyncio.Event())) for host in hosts]
    await until(lambda: machine.serving == [0, 0, 0])
    now_ms = await control.now_ms()
    layout = begin(ClusterLayout(0, Layout(0, 2)), now_ms)
    assert await store.write(layout, 0)
    await until(lambda: sorted(machine.serving) == [0, 0, 0, 1, 1, 1])
    assert machine.most_at_once == 1
    abandoned = abandon(layout, "it was cancelled", now_ms)
    assert abandoned is not None
    assert await store.write(abandoned, layout.version)
    await until(lambda: machine.serving == [0, 0, 0])
    assert machine.most_at_once == 1
    await end(running)
    await control.close()
