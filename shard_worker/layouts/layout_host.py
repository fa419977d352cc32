"""A worker process that joins: serves each layout of the cluster that there is (`common.state`).

That is one layout, and during a split two: a `Worker` for each, with shards, scorers and placement
of its own. What the process should serve and copy is compared with what it does each second, and
whenever the layout has changed. So a process that starts, or has missed an event, goes on where the
split is.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from hedgerow.common.errors import (
    ConfigurationError,
    HedgerowError,
    RedisUnavailableError,
    SplitError,
    WireError,
)
from hedgerow.common.lifecycle import calm_collector
from hedgerow.common.machine.private_folder import make_private
from hedgerow.common.placement.store import PlacementStore
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.reconcile import reconcile
from hedgerow.common.settings.settings import Settings
from hedgerow.common.snapshots.manifest import STORE
from hedgerow.common.snapshots.restore import shard_folder
from hedgerow.common.splitting.policy import fail
from hedgerow.common.state.kept_layout import MARK, read_layout
from hedgerow.common.state.layout import ClusterLayout, Layout, LayoutStore, Split
from hedgerow.common.state.machine_turns import MachineTurns
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import KeyedTasks, end, run_together
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.layouts.apart import Turn
from hedgerow.shard_worker.layouts.old_shards import ServedOldShards
from hedgerow.shard_worker.reporting.metrics_server import MetricsServer
from hedgerow.shard_worker.splitting.clone_choice import CloneChoice
from hedgerow.shard_worker.splitting.copier import Copier
from hedgerow.shard_worker.splitting.copy_pace import CopyPace
from hedgerow.shard_worker.splitting.driver import LEASE_S, SplitDriver
from hedgerow.shard_worker.worker import Worker

COPYING_LOOK_S: Final = 0.5  # between two looks during a split
HELD_LOOK_S: Final = 0.05  # while writes are held back
COPY_AGAIN_S: Final = 1.0

log = structlog.get_logger()


class _Served(NamedTuple):
    task: "asyncio.Task[None]"
    stop: asyncio.Event


class LayoutHost:
    """Serves the layouts of a cluster, and takes part in splits, until stopped."""

    def __init__(
        self,
        settings: Settings,
        worker_id: str,
        num_shards: int | None,
        connect_worker: Callable[[Layout], AbstractAsyncContextManager[Worker]],
    ) -> None:
        """Serve nothing yet.

        Args:
            settings: all settings.
            worker_id: the worker's name in the cluster.
            num_shards: the number of shards that this process was given, if any.
            connect_worker: makes the worker for a layout.
        """
        self._settings = settings
        self._id = worker_id
        self._num_shards = num_shards
        self._connect_worker = connect_worker
        self._loop = asyncio.get_running_loop()
        self._served: dict[int, _Served] = {}
        self._leaving: dict[int, asyncio.TimerHandle] = {}
        self._workers: dict[int, Worker] = {}
        self._first: asyncio.Future[Worker] = self._loop.create_future()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._copying = KeyedTasks[tuple[int, int]]()
        self._copied: set[tuple[int, int]] = set()
        self._woken = asyncio.Event()
        self._next_look: asyncio.TimerHandle | None = None
        self._tidied: tuple[ClusterLayout, frozenset[Path]] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain.

        Raises:
            ConfigurationError: the cluster cannot be used.
            RedisUnavailableError: there is no server.
            HedgerowError: the worker of the current layout cannot be started.
        """
        control = await connect(self._settings.redis)
        try:
            keys = Keys.of(self._settings.redis)
            self._start_with(control, keys)
            self._layout = await self._read_first(control, keys)
            await self._run(stop)
        finally:
            await control.close()

    def heartbeat(self) -> Heartbeat:
        """What the worker of the current layout reports about itself now."""
        worker = self._workers.get(self._layout.current.id)
        return (worker or next(iter(self._workers.values()), self._first.result())).heartbeat()

    def _start_with(self, control: RedisClient, keys: Keys) -> None:
        expiry_s = self._settings.worker.heartbeat_expiry_s
        self._control, self._keys = control, keys
        self._store = LayoutStore(control, keys)
        self._driver = SplitDriver(control, keys, self._id, expiry_s)
        key = partial(keys.copy_turn, self._settings.worker.host_name)
        turns = MachineTurns(control, key, worker=self._id)
        self._pace = CopyPace.of(self._settings, self._do_searches_wait, turns)

    async def _read_first(self, control: RedisClient, keys: Keys) -> ClusterLayout:
        """The layout; if Redis has lost it, the one on this disk, which is stored again."""
        layout = await read_layout(self._store, [self._settings.data])
        number = layout.current.id if layout is not None else 0
        num_shards = await Registry(control, keys.of_layout(number)).cluster(self._num_shards)
        return layout or ClusterLayout(0, Layout(0, num_shards))

    async def _run(self, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait(), name="stop")
        looking: list[asyncio.Task[None]] = []
        try:
            await self._serve_layouts()
            starts: list[asyncio.Future[Any]] = [self._first, self._failed, stopping]
            await asyncio.wait(starts, return_when=asyncio.FIRST_COMPLETED)
            if self._first.done() and not self._failed.done():
                looking.append(asyncio.create_task(self._follow(), name="layouts"))
                await self._report_until([*looking, stopping, self._failed])
        finally:
            stopping.cancel()
            # What looks for layouts to serve ends first, so that no further one is begun.
            await end(looking)
            for served in self._served.values():
                served.stop.set()
            await asyncio.gather(
                *(one.task for one in self._served.values()), return_exceptions=True
            )
        if self._failed.done():
            self._failed.result()
        for task in looking:
            if not task.cancelled():
                task.result()

    async def _follow(self) -> None:
        """Follow the layout, whose changes begin and end what this process serves and copies."""
        max_pause_s = self._settings.redis.reconnect_max_s
        await run_together(
            reconcile("layout_waits", self._look, self._woken, max_pause_s),
            self._listen(),
            self._copying.run(),
        )

    async def _report_until(self, ends: Collection[asyncio.Future[Any]]) -> None:
        """Offer metrics until one of `ends` is done."""
        worker = self._settings.worker
        metrics = MetricsServer(worker, self.heartbeat, self._settings.metrics.max_names)
        async with metrics.running():
            calm_collector()
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

    async def _look(self) -> None:
        """Compare the layout with what this process does, and move a split on."""
        layout = await self._read()
        if layout.version != self._layout.version:
            log.info("layout_changed", version=layout.version, state=_state_of(layout))
        self._layout = layout
        await self._serve_layouts()
        for number, worker in self._workers.items():
            # The driver of the split announces the end of the copies as that of a load.
            worker.count_only_when_asked(only_asked=layout.is_filling(number))
        await self._copy_shards()
        if layout.split is not None:
            pause_s = COPYING_LOOK_S if layout.takes_writes else HELD_LOOK_S
            if self._next_look is not None:
                self._next_look.cancel()
            self._next_look = self._loop.call_later(pause_s, self._woken.set)
            await self._driver.step(layout)

    async def _read(self) -> ClusterLayout:
        layout = await self._store.read()
        if layout is None and self._layout.version:  # Redis has lost it
            await self._store.write(self._layout, 0)
            layout = await self._store.read()
        return layout or self._layout

    async def _serve_layouts(self) -> None:
        wanted = {layout.id: layout for layout in self._layout.served}
        for number, layout in wanted.items():
            if number not in self._served:
                stop = asyncio.Event()
                task = asyncio.create_task(self._serve(layout, stop), name=f"layout {number}")
                self._served[number] = _Served(task, stop)
        if unwanted := self._served.keys() - wanted.keys() - self._leaving.keys():
            after_s = (await self._turn()).ends_after_s
            for number in unwanted & self._served.keys():
                stop = self._served[number].stop
                self._leaving[number] = self._loop.call_later(after_s, stop.set)
        kept = frozenset(Layout(number, 1).data(self._settings.data) for number in self._served)
        # Not at each look: while a split is in progress, these are many.
        if self._layout.version and (tidied := (self._layout, kept)) != self._tidied:
            is_tidy = await asyncio.to_thread(_tidy, self._settings.data, kept, self._layout)
            self._tidied = tidied if is_tidy else None

    async def _serve(self, layout: Layout, stop: asyncio.Event) -> None:
        """Serve one layout; if another than the current one fails, it is started again."""
        try:
            if self._workers and not await self._wait_to_begin(stop):
                return
            folder = layout.data(self._settings.data)
            await asyncio.to_thread(make_private, folder)
            async with self._connect_worker(layout) as worker:
                old = ServedOldShards(
                    self._placements,
                    self._settings.data,
                    layout,
                    lambda: self._layout,
                    self._workers,
                    self._id,
                )
                worker.clone_from(old, self._pace)
                self._workers[layout.id] = worker
                if not self._first.done():
                    self._first.set_result(worker)
                await worker.run(stop)
        except Exception as error:  # noqa: BLE001 - passed on, or told
            if layout == self._layout.current and not self._failed.done():
                self._failed.set_exception(error)
            else:
                log.warning("layout_not_served", layout=layout.id, error=str(error))
                await asyncio.sleep(COPY_AGAIN_S)
        finally:
            self._workers.pop(layout.id, None)
            if (leaving := self._leaving.pop(layout.id, None)) is not None:
                leaving.cancel()
            del self._served[layout.id]
            self._woken.set()

    async def _wait_to_begin(self, stop: asyncio.Event) -> bool:
        """Wait for this worker's turn to serve shards beside others; return False if stopped."""
        after_s = (await self._turn()).begins_after_s
        with suppress(TimeoutError):
            async with asyncio.timeout(after_s):
                await stop.wait()
        return not stop.is_set()

    async def _turn(self) -> Turn:
        """This worker's turn among those of its machine."""
        worker = self._settings.worker
        registry = Registry(self._control, self._keys.of_layout(self._layout.current.id))
        live = await registry.live_heartbeats(worker.heartbeat_expiry_s)
        return Turn.of(self._id, live.values(), worker.workers_on_host)

    async def _copy_shards(self) -> None:
        """Copy the shards of the source that this worker serves."""
        split, wanted = self._layout.split, set[tuple[int, int]]()
        if split is not None and self._layout.is_copying:
            worker = self._workers.get(split.source.id)
            wanted = {(split.target.id, shard) for shard in (worker.served if worker else ())}
        for key in self._copied - wanted:
            await self._copying.end(key)
            self._copied.discard(key)
        if split is not None:
            expiry_s = self._settings.worker.heartbeat_expiry_s
            clones = CloneChoice(self._control, self._keys, split, expiry_s)
            for key in wanted - self._copied:
                self._copied.add(key)
                copy = self._copy(split, key[1], clones)
                self._copying.start(key, copy, name=f"copy of shard {key[1]}")

    async def _copy(self, split: Split, shard: int, clones: CloneChoice) -> None:
        """Copy a shard until cancelled, whenever this worker has the lease."""
        key, held_until = self._keys.of_layout(split.source.id).copy_lease(shard), 0.0

        def applied() -> str | None:
            worker = self._workers.get(split.source.id)
            return worker.applied(shard) if worker is not None else None

        async def check_lease() -> None:
            nonlocal held_until
            now = self._loop.time()
            if now < held_until - LEASE_S / 2:
                return
            if not await self._store.hold_lease(key, self._id, LEASE_S):
                raise RedisUnavailableError(f"another worker copies shard {shard}")
            held_until = now + LEASE_S

        primary = self._control.data(shard).primary
        copier = Copier(
            self._control,
            self._keys,
            split,
            shard,
            shard_folder(split.source.data(self._settings.data), shard) / STORE,
            applied=applied,
            pace=self._pace,
            clones=clones,
        )
        while True:
            try:
                await copier.run(check_lease)
            except SplitError as error:
                await self._fail(str(error))
            except (HedgerowError, OSError, sqlite3.Error) as error:
                log.debug("copy_waits", shard=shard, reason=str(error))
            await primary.pause(COPY_AGAIN_S)  # at once if a failover may have lost entries

    def _placements(self, layout: Layout) -> PlacementStore:
        return PlacementStore(self._control, self._keys.of_layout(layout.id))

    def _do_searches_wait(self) -> bool:
        return any(worker.num_waiting for worker in self._workers.values())

    async def _fail(self, reason: str) -> None:
        log.error("split_failed", reason=reason)
        with suppress(RedisUnavailableError, WireError):
            layout = await self._read()
            failed = fail(layout, reason, await self._control.now_ms())
            if failed is not None:
                await self._store.write(failed, layout.version)

    async def _listen(self) -> None:
        async for _ in self._control.events(self._keys.layout_document):
            self._woken.set()


async def pinned_layout(settings: Settings, num_shards: int | None) -> Layout:
    """The layout for a worker whose shards are named when it starts.

    Raises:
        ConfigurationError: the cluster cannot be used, or is being split.
        RedisUnavailableError: there is no server.
    """
    control = await connect(settings.redis)
    try:
        keys = Keys.of(settings.redis)
        found = await read_layout(LayoutStore(control, keys), [settings.data])
        if found is not None and found.split is not None:
            raise ConfigurationError(
                "--shards: the cluster is being split; start it when the split has ended, or with "
                "--join"
            )
        number = found.current.id if found is not None else 0
        return Layout(number, await Registry(control, keys.of_layout(number)).cluster(num_shards))
    finally:
        await control.close()


def _state_of(layout: ClusterLayout) -> str:
    return layout.split.state.value if layout.split is not None else "settled"


def _tidy(data: Path, kept: Collection[Path], layout: ClusterLayout) -> bool:
    """Remove the data of layouts that are gone, and mark the folder of the current one.

    Returns:
        Whether nothing is left to be tried again.
    """
    gone = [folder for folder in data.glob("layout-*") if folder not in kept]
    if data not in kept and layout.current.id:
        gone += [data / "restoring", data / "shards"]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    folder = layout.current.data(data)
    if layout.current.id and layout.split is None and folder in kept:
        settled = layout.to_json()
        mark = folder / MARK
        try:
            if not mark.exists() or mark.read_bytes() != settled:
                mark.write_bytes(settled)
        except OSError:
            return False
    return not any(folder.exists() for folder in gone)
