"""What a worker process that joins leaves behind if it ends while it starts, on a real server."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.splitting.policy import begin
from hedgerow.common.state.layout import ClusterLayout, Layout, LayoutStore
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.layouts import layout_host
from hedgerow.shard_worker.layouts.apart import Turn
from hedgerow.shard_worker.layouts.layout_host import LayoutHost
from tests.integration.support.beating import beating
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


class IdleWorkers:
    """Workers of layouts that serve no shard."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.has_begun: dict[int, asyncio.Event] = {0: asyncio.Event(), 1: asyncio.Event()}

    @asynccontextmanager
    async def connect(self, layout: Layout) -> AsyncIterator[Any]:
        """Open a worker."""
        yield IdleWorker(self, layout.id)


class IdleWorker:
    """A worker of a layout that serves no shard."""

    num_waiting = 0
    served: tuple[int, ...] = ()

    def __init__(self, workers: IdleWorkers, layout: int) -> None:
        self._workers = workers
        self._layout = layout

    def clone_from(self, _old: Any, _pace: Any) -> None:
        """Nothing is cloned."""

    def count_only_when_asked(self, *, only_asked: bool) -> None:
        """Nothing is counted."""

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until stopped."""
        self._workers.running.add(self._layout)
        self._workers.has_begun[self._layout].set()
        await stop.wait()
        self._workers.running.discard(self._layout)


class Turns:
    """Stands for whose turn it is to begin, or to end, to serve shards of a split."""

    def __init__(self, turn: Turn) -> None:
        self.asked_for: list[tuple[str, list[str], int]] = []
        self.are_asked = asyncio.Event()
        self._turn = turn

    def of(self, worker: str, live: Iterable[Heartbeat], on_host: int) -> Turn:
        """The turn of a worker."""
        self.asked_for.append((worker, [one.id for one in live], on_host))
        self.are_asked.set()
        return self._turn


NEVER, AT_ONCE = Turn(1000.0, 4), Turn(0.0, 4)


@asynccontextmanager
async def hosted(
    server: RedisServer, prefix: str, data: Path
) -> AsyncIterator[tuple[IdleWorkers, LayoutStore, ClusterLayout]]:
    """A process, one of four of its machine, in a split; it has ended after the block."""
    redis = RedisSettings(url=server.url, key_prefix=prefix)
    control = await connect(redis)
    store = LayoutStore(control, Keys(prefix))
    workers, stop = IdleWorkers(), asyncio.Event()
    settings = Settings.model_validate(
        {"redis": redis, "data": data, "worker": {"workers_on_host": 4}}
    )
    host = LayoutHost(settings, "w0", 2, workers.connect)
    try:
        keys = Keys(prefix)
        await Registry(control, keys).cluster(2)
        registries = [Registry(control, keys.of_layout(number)) for number in range(2)]
        async with beating(control, registries, "other", [0], host="h"):
            running = asyncio.create_task(host.run(stop))
            try:
                await workers.has_begun[0].wait()
                layout = begin(ClusterLayout(0, Layout(0, 2)), await control.now_ms())
                assert await store.write(layout, 0)
                yield workers, store, layout
            finally:
                stop.set()
                await asyncio.wait_for(running, 60.0)
    finally:
        await control.close()


async def test_a_worker_begins_to_serve_new_shards_when_it_is_its_turn(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for it before it starts anything, unless it ends before; the old shards do not."""
    turns = Turns(NEVER)
    monkeypatch.setattr(layout_host, "Turn", turns)
    async with hosted(redis_server, key_prefix, tmp_path) as (workers, _, _):
        await turns.are_asked.wait()
        assert turns.asked_for == [("w0", ["other"], 4)]
    assert not workers.has_begun[1].is_set()


async def test_a_worker_ends_to_serve_old_shards_when_it_is_its_turn(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on until then, unless its process ends before."""
    monkeypatch.setattr(layout_host, "Turn", Turns(AT_ONCE))
    async with hosted(redis_server, key_prefix, tmp_path) as (workers, store, layout):
        await workers.has_begun[1].wait()
        turns = Turns(NEVER)
        monkeypatch.setattr(layout_host, "Turn", turns)
        assert layout.split is not None
        after = ClusterLayout(layout.version + 1, layout.split.target, layout.next_id)
        assert await store.write(after, layout.version)
        await turns.are_asked.wait()
        assert turns.asked_for == [("w0", ["other"], 4)]
        assert workers.running == {0, 1}
    assert workers.running == set()


async def test_the_data_folder_is_tidied_once_while_nothing_changes(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A split has the layout looked at many times a second; the folder is looked at for changes."""
    tidied, tidy = [], layout_host._tidy
    looks, read = asyncio.Semaphore(0), LayoutStore.read

    def counted_tidy(data: Path, kept: frozenset[Path], layout: ClusterLayout) -> bool:
        tidied.append((layout, kept))
        return tidy(data, kept, layout)

    async def counted_read(store: LayoutStore) -> ClusterLayout | None:
        looks.release()
        return await read(store)

    monkeypatch.setattr(layout_host, "Turn", Turns(AT_ONCE))
    monkeypatch.setattr(layout_host, "_tidy", counted_tidy)
    async with hosted(redis_server, key_prefix, tmp_path) as (workers, _, layout):
        await workers.has_begun[1].wait()
        monkeypatch.setattr(LayoutStore, "read", counted_read)
        control = await connect(RedisSettings(url=redis_server.url, key_prefix=key_prefix))
        for _ in range(4):
            await control.execute("PUBLISH", Keys(key_prefix).layout_document, "changed")
            await looks.acquire()
        await control.close()
        assert tidied
        assert len(set(tidied)) == len(tidied)
        assert tidied[-1][0] == layout
