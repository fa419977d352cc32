"""Watches for shortages of this worker: disk space for its folder, memory, descriptors."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from hedgerow.common.machine.descriptors import probe_descriptors
from hedgerow.common.machine.disk import DiskState, disk_failure
from hedgerow.common.machine.disk_reader import DiskLook
from hedgerow.common.machine.shortage import DISK, ShortageBook, disk_shortage, lacking
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.runtime.ticks import sleep_to_tick
from hedgerow.common.settings.storage import StorageSettings

_log = structlog.get_logger()


class StorageWatch:
    """Checks the disk, and records failed writes."""

    def __init__(
        self,
        folder: Path,
        settings: StorageSettings,
        *,
        now_ms: Callable[[], int],
        on_change: Callable[[], None],
        owed_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        """Watch the disk of `folder`.

        Args:
            folder: the worker's folder.
            settings: what must stay free, and how often to look.
            now_ms: the clock of the heartbeats, in ms.
            on_change: called when a shortage begins or ends.
            owed_bytes: bytes of writes that were accepted and are not written here yet.
        """
        self._folder = folder
        self._settings = settings
        self._disk = DiskLook(folder, settings)
        self._judge = self._disk.judge
        self._book = ShortageBook(now_ms)
        self._on_change = on_change
        self._owed_bytes = owed_bytes
        self._throttle = Throttle(60.0)

    def to_json(self) -> list[dict[str, Any]]:
        """The current shortages, for the heartbeat."""
        return [one.to_json() for one in self._book.list()]

    def has_disk(self) -> bool:
        """Whether the disk has room, as far as is known."""
        return self._judge.state is DiskState.OK

    def note(self, error: BaseException | str) -> bool:
        """Record a failure; returns whether a shortage, which passes, was the cause.

        While the disk lacks room, that is assumed to be the cause: tantivy does not report it.
        """
        now = time.monotonic()
        if (state := disk_failure(error)) is not None:
            self._judge.fail(state, now)
            self._put_disk()
            return True
        if (resource := lacking(error)) is not None:
            if self._book.fail(resource, f"a call has failed: {error}", now):
                self._on_change()
            return True
        return not self.has_disk()

    async def look(self) -> None:
        """Look at the disk once, and whether files can be opened."""
        now = time.monotonic()
        try:
            await self._disk.look(now, self._owed_bytes())
        except OSError as error:
            if self._throttle.allows("look", now):
                _log.warning("disk_unknown", folder=str(self._folder), error=str(error))
            return
        self._put_disk()
        if (lack := probe_descriptors()) is not None:
            self.note(lack)
        if self._book.forget_old(now):
            self._on_change()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await sleep_to_tick(self._settings.poll_s)

    def _put_disk(self) -> None:
        shortage = disk_shortage(self._judge, self._folder, self._book.since_ms(DISK))
        if self._book.put(DISK, shortage):
            self._on_change()
