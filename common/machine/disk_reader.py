"""Reads and judges one disk, for workers and for the embedded server's keeper."""

import asyncio
import math
from pathlib import Path

from hedgerow.common.machine.disk import (
    PROBE_S,
    DiskJudge,
    DiskReading,
    DiskState,
    disk_failure,
    probe_disk,
    read_disk,
)
from hedgerow.common.settings.storage import StorageSettings


class DiskLook:
    """One disk, as last read.

    While it has ample room, it is read at most every `PROBE_S`, since each reading wakes a thread.

    Attributes:
        judge: decides whether the disk has room.
    """

    def __init__(self, folder: Path, settings: StorageSettings) -> None:
        """Read the disk of `folder`, when `look` is called."""
        self.judge = DiskJudge(settings)
        self._folder = folder.absolute()
        self._probed_at = -math.inf

    async def look(self, now: float, owed_bytes: int = 0) -> DiskState:
        """Read the disk in a thread, unless it has ample room, and judge it; `now` is in s.

        Raises:
            OSError: the disk does not answer.
        """
        last = self.judge.reading
        if last is not None and self.judge.has_ample_room and not self._is_probe_due(now):
            return self.judge.judge(last, now, owed_bytes)
        reading, failure = await asyncio.to_thread(self._look, now)
        if failure is not None:
            self.judge.fail(failure, now)
        return self.judge.judge(reading, now, owed_bytes)

    def _is_probe_due(self, now: float) -> bool:
        return now - self._probed_at >= PROBE_S

    def _look(self, now: float) -> tuple[DiskReading, DiskState | None]:
        # Before a worker's first start, its folder does not exist yet.
        folder = next(one for one in (self._folder, *self._folder.parents) if one.exists())
        reading, failure = read_disk(folder), None
        if self._is_probe_due(now):
            self._probed_at = now
            try:
                probe_disk(folder)
            except OSError as error:
                failure = disk_failure(error)
        return reading, failure
