"""What this worker runs out of: disk space for its data folder, memory, descriptors."""

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
            folder: where the worker stores.
            settings: what must stay free, and how often to look.
            now_ms: the time in which the heartbeat speaks.
            on_change: called when something begins to run out, or ends to.
            owed_bytes: what is accepted and has yet to be written here.
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
        """What runs out, for the heartbeat."""
        return [one.to_json() for one in self._book.list()]

    def has_disk(self) -> bool:
        """Whether the disk has room, as far as is known."""
        return self._judge.state is DiskState.OK

    def note(self, error: BaseException | str) -> bool:
        """Record a failure; returns whether it was caused by a shortage, which passes.

        While the disk is short of room that is taken to be the reason: tantivy does not tell it.
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
