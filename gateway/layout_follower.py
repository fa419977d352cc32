"""Follows the layout of the cluster: has the gateway search the shards that it should search.

Everything in a gateway that knows shards is sized for one layout. So a split does not change these
parts: it has others made for the new layout, beside the present ones, and the gateway serves by
them from one moment on. Searches that have begun end in the parts in which they began.

    copying   nothing
    sealed    writes are held back; parts for the target are made and started
    switched  the gateway serves by them, and its heartbeat says so
    retiring  writes go on; when the last search has ended, the former parts are stopped
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.redis.shared_events import RECONNECTED
from hedgerow.common.state import probation as probation_state
from hedgerow.common.state import reindexing as reindexing_state
from hedgerow.common.state.layout import ClusterLayout, Layout, LayoutStore
from hedgerow.common.tasks import KeyedTasks, run_together
from hedgerow.gateway.parts import Parts
from hedgerow.gateway.views.freshness import keep_fresh

START_TIMEOUT_S: Final = 30.0
LOOK_S: Final = 1.0  # longest time between two looks: an announcement may be lost

log = structlog.get_logger()


class _Running(NamedTuple):
    """Parts that run, and the key of their tasks."""

    parts: Parts
    key: int


class LayoutFollower:
    """Makes, starts and stops the parts of a gateway for the layouts of its cluster."""

    def __init__(
        self,
        control: RedisClient,
        parts: Parts,
        make_parts: Callable[[Layout, Parts], Parts],
        use: Callable[[Parts], None],
    ) -> None:
        """Begin with parts that are started.

        Args:
            control: the Redis client.
            parts: those by which the gateway serves now.
            make_parts: makes parts for a layout, which replace the given ones.
            use: has the gateway serve by these parts.
        """
        self._control = control
        self._keys = Keys.of(parts.access.settings.redis)
        self._store = LayoutStore(control, self._keys)
        self._make_parts = make_parts
        self._use = use
        self._next_key = itertools.count().__next__
        self._present = _Running(parts, self._next_key())
        self._prepared: _Running | None = None
        self._leaving: dict[int, Parts] = {}
        self._tasks = KeyedTasks[tuple[str, int]]()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Run the parts, and follow the layout, until cancelled."""
        self._run_parts(self._present)
        self._expire(self._present)
        try:
            await run_together(
                keep_fresh("layout", self._look, self._changed, LOOK_S),
                self._listen(),
                self._tasks.run(),
            )
        finally:
            others = list(self._leaving.values())
            others += [self._prepared.parts] if self._prepared is not None else []
            for parts in others:
                await _close(parts)

    async def _look(self) -> None:
        layout = await self._store.read()
        if layout is None:
            return
        gate = self._present.parts.write_gate
        if not layout.takes_writes:
            gate.set(is_open=False)
        await self._prepare(layout)
        if self._prepared is not None and _is_for(self._prepared.parts, layout.searched):
            self._change_over(self._prepared)
        if layout.takes_writes:
            gate.set(is_open=True)

    async def _prepare(self, layout: ClusterLayout) -> None:
        """Have parts ready for the layout that is, or is about to be, searched."""
        wanted = layout.searched
        if not layout.takes_writes and layout.split is not None:
            wanted = layout.split.target
        if self._prepared is not None and not _is_for(self._prepared.parts, wanted):
            await self._discard(self._prepared)  # the split has fallen back
            self._prepared = None
        if self._prepared is not None or _is_for(self._present.parts, wanted):
            return
        parts = self._make_parts(wanted, self._present.parts)
        try:
            await start(parts)
        except BaseException:
            await _close(parts)
            raise
        self._prepared = _Running(parts, self._next_key())
        self._run_parts(self._prepared)

    def _change_over(self, new: _Running) -> None:
        """Serve by other parts from now on."""
        old, self._present, self._prepared = self._present, new, None
        new.parts.guards.take_over(old.parts.guards)
        self._use(new.parts)
        new.parts.documents.take_over(old.parts.documents)
        new.parts.conditional_writes.take_over(old.parts.conditional_writes)
        former, layout = old.parts.access.keys.layout, new.parts.access.keys.layout
        self._leaving[old.key] = old.parts
        self._expire(new)
        self._report()
        self._tasks.start(("leave", old.key), self._leave(old), name=f"leave layout {former}")
        log.info("layout_changed", layout=layout, num_shards=new.parts.access.num_shards)

    async def _leave(self, old: _Running) -> None:
        """Stop parts when the last search in them has ended."""
        settings = old.parts.access.settings
        await self._tasks.end(("expire", old.key))
        await self._tasks.end(("reindex", old.key))
        while old.parts.searcher.num_in_flight:
            await old.parts.searcher.drain(settings.gateway.drain_timeout_s)
        # Reads of single documents are not counted.
        await asyncio.sleep(settings.gateway.default_deadline_ms / 1000)
        await self._discard(old)
        del self._leaving[old.key]
        self._report()

    def _report(self) -> None:
        """Say in the heartbeat which layouts this gateway searches."""
        parts = self._present.parts
        presence = parts.presence
        presence.layout = parts.access.keys.layout
        presence.leaving_layouts = sorted(
            {one.access.keys.layout for one in self._leaving.values()} - {presence.layout}
        )
        presence.num_in_flight = lambda: self._present.parts.searcher.num_in_flight
        presence.server_ms = parts.server_ms
        presence.beat_soon()

    def _run_parts(self, running: _Running) -> None:
        parts = running.parts
        name = f"layout {parts.access.keys.layout}"
        self._tasks.start(("run", running.key), run_parts(parts, self._control), name=name)

    def _expire(self, running: _Running) -> None:
        """Delete expired documents, and reindex; parts that are only prepared must not write."""
        parts, key = running.parts, running.key
        self._tasks.start(("expire", key), parts.expiry.run(), name="expiry")
        self._tasks.start(("reindex", key), parts.reindex_driver.run(), name="reindex")

    async def _discard(self, running: _Running) -> None:
        await self._tasks.end(("run", running.key))
        await _close(running.parts)

    async def _listen(self) -> None:
        async for _ in self._control.events(self._keys.layout_document):
            self._changed.set()


async def start(parts: Parts) -> None:
    """Start parts: connect them, and read what they have to know.

    Raises:
        RedisUnavailableError: there is no server.
    """
    await parts.transport.start(START_TIMEOUT_S)
    await parts.collections.refresh()
    await parts.membership.refresh()
    parts.searcher.checker.use_cursor_key(await parts.access.registry.cursor_key())


async def run_parts(parts: Parts, control: RedisClient) -> None:
    """Run what depends on the layout, until cancelled."""
    skipping = [] if parts.skipping is None else [parts.skipping.run()]
    await run_together(
        *skipping,
        parts.membership.run(),
        parts.collections.run(),
        parts.ejection.run(),
        parts.server_watch.run(),
        _pass_on_events(parts, control),
    )


async def _pass_on_events(parts: Parts, control: RedisClient) -> None:
    """Pass announced events on to the parts that they concern."""
    async for event in control.events(parts.access.keys.events):
        kind, _, shard = event.decode(errors="replace").partition(":")
        if kind == "applied" and shard.isdecimal():
            parts.documents.wake(int(shard))
        parts.ranked_loads.take(event)
        parts.breaker_switch.take(event)
        is_new = event == RECONNECTED
        if kind == "workers" or is_new:
            parts.membership.wake()
        if kind == probation_state.EVENT or is_new:
            parts.ejection.wake()
        if kind == "collections" or is_new:
            parts.collections.wake()
        if kind == reindexing_state.EVENT or is_new:
            parts.reindex_driver.wake()
        if parts.reloader.take(event):
            await parts.reloader.follow(event)


async def _close(parts: Parts) -> None:
    parts.searcher.close()
    await parts.transport.close()


def _is_for(parts: Parts, layout: Layout) -> bool:
    return parts.access.keys.layout == layout.id
