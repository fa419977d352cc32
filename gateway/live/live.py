"""Follows a cluster for its viewers: samples every second, makes statuses while there are viewers.

The samples go on without viewers, so that a page that is opened shows the last minutes: they read
counters that exist anyway. A status asks Redis; it is made and encoded once for all viewers.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from hedgerow.common.errors import HedgerowError
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.runtime.ticks import sleep_to_tick, tick_after
from hedgerow.gateway.live.changes import Changes, Cluster
from hedgerow.gateway.live.history import History, Totals
from hedgerow.gateway.live.journal import Journal
from hedgerow.gateway.live.viewers import Viewer, Viewers, message
from hedgerow.gateway.shapes.live import LiveEvent, LiveHistory

log = structlog.get_logger()

PERIOD_S: Final = 1.0
# After an event, the status follows at once, but with at least this pause between two of them.
_LEAST_PAUSE_S: Final = 0.25
_RETRY: Final = b"retry: 2000\n\n"  # after how many ms a browser asks again
_LOG_INTERVAL_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Sources:
    """What is followed.

    Attributes:
        gateway_id: changes at each start.
        totals: what has been counted so far.
        cluster: what is looked at every second.
        status: the state of the cluster, as in GET /v1/status; asks Redis.
        placement: the placement, as in GET /v1/placement; None where no worker has joined.
    """

    gateway_id: str
    totals: Callable[[], Totals]
    cluster: Callable[[], Cluster]
    status: Callable[[], Awaitable[Mapping[str, Any]]]
    placement: Callable[[], Awaitable[Mapping[str, Any] | None]]


class Live:
    """The stream of one gateway."""

    def __init__(self, sources: Sources, journal: Journal, max_viewers: int) -> None:
        """Follow `sources`; `on_event` is to be called with each event of `journal`."""
        self._sources = sources
        self._journal = journal
        self._history = History(sources.totals())
        self._changes = Changes(journal)
        self._viewers = Viewers(max_viewers, self._want_status)
        self._wanted = asyncio.Event()
        self._status = b""  # the last one as messages, while there are viewers
        self._throttle = Throttle(_LOG_INTERVAL_S)

    def follow(self, sources: Sources) -> None:
        """Follow other sources from now on, whose counts begin where they are."""
        self._sources = sources
        self._history.count_from(sources.totals())

    async def run(self) -> None:
        """Sample, and make statuses, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_samples(), name="live samples")
            group.create_task(self._run_statuses(), name="live statuses")

    def open(self, key: str | None = None, party: str = "") -> Viewer:
        """Admit a viewer of a party, whose stream begins with the last minutes.

        Raises:
            OverloadedError: there are as many viewers as are allowed.
        """
        history = LiveHistory(
            gateway=self._sources.gateway_id,
            period_s=PERIOD_S,
            points=list(self._history.points),
            events=list(self._journal.events),
        )
        first = _RETRY + message("history", history)
        return self._viewers.open(key, party, first + self._status if self._viewers else first)

    def leave(self, viewer: Viewer) -> None:
        """A viewer has gone."""
        self._viewers.leave(viewer)

    def keep_keys(self, names: Collection[str]) -> None:
        """End the streams of keys that were revoked: they are not among `names`."""
        self._viewers.keep_keys(names)

    def close(self) -> None:
        """End all streams: the gateway is about to stop."""
        self._viewers.close()

    def on_event(self, event: LiveEvent) -> None:
        """Send an event of the journal to all viewers, and the status after it."""
        if self._viewers:
            self._viewers.send(message("event", event))
            self._want_status()

    def look(self) -> None:
        """Add an event to the journal for each change of the cluster since the last look."""
        try:
            self._changes.look(self._sources.cluster())
        except Exception:  # data that another program stored must not end a gateway
            if self._may_log("look"):
                log.exception("live_look_failed")

    def sample(self) -> None:
        """Add a point, and an event for each change."""
        self.look()
        point = self._history.add(self._sources.totals(), time.time_ns() // 1_000_000)
        if self._viewers:
            self._viewers.send(message("point", point))

    async def send_status(self) -> None:
        """Make a status, and send it to all viewers, with the placement if there is one."""
        status = await self._sources.status()
        self._changes.look_at_status(status)
        messages = message("status", status)
        try:
            placement = await self._sources.placement()
        except HedgerowError:  # the status says that Redis does not answer
            placement = None
        if placement is not None:
            messages += message("placement", placement)
        self._status = messages
        self._viewers.send(messages)

    async def _run_samples(self) -> None:
        while True:
            await sleep_to_tick(PERIOD_S)
            self.sample()

    async def _run_statuses(self) -> None:
        while True:
            if not self._viewers:
                self._status = b""
                self._changes.forget_status()
                await self._wanted.wait()
            self._wanted.clear()
            await self._try_status()
            await asyncio.sleep(_LEAST_PAUSE_S)
            try:
                async with asyncio.timeout_at(tick_after(PERIOD_S)):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def _try_status(self) -> None:
        try:
            await self.send_status()
        except Exception:  # as above
            if self._may_log("status"):
                log.exception("live_status_failed")

    def _may_log(self, kind: str) -> bool:
        return self._throttle.allows(kind, asyncio.get_running_loop().time())

    def _want_status(self) -> None:
        self._wanted.set()
