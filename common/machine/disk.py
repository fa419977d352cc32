"""Whether a disk has room: a pure policy, and a function that reads the disk.

Documents are refused before a disk is full. Documents that were accepted still have to be applied,
which needs room for merged segments, the write-ahead log and the server's append-only file.
"""

import errno
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hedgerow.common.settings.storage import StorageSettings

MB = 1_000_000
_MAX_RESERVE_BYTES = 256 * MB
_RESERVE_SHARE = 0.05
_FULL_SHARE = 0.25  # of the reserve
_RECOVERY = 1.5  # multiple of a bound that must be free before the state ends
_FEW_FILES = 100
# A failed write says more than the figures (with a quota, for instance): it counts for this time.
HOLD_S = 5.0
PROBE_S = 2.0  # how often to write to a disk in order to see that it can be written to
# A disk that can hardly be filled before the next probe is not read in between.
_FASTEST_BYTES_PER_S = 5_000 * MB
_FASTEST_FILES_PER_S = 500_000

# The texts of errors from libraries without error numbers. SQLite has texts of its own.
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "database or disk is full")
_READ_ONLY_TEXTS = ("Read-only file system", "attempt to write a readonly database")
_FULL_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT})


class DiskState(StrEnum):
    """How much room a disk has left."""

    OK = "ok"
    LOW = "low"  # less than the reserve is free
    FULL = "full"  # hardly anything is free, or a write has failed because there was no room
    READ_ONLY = "read_only"


@dataclass(frozen=True, slots=True)
class DiskReading:
    """What a file system reports.

    Attributes:
        total_bytes: the size of the file system.
        free_bytes: how much can still be written.
        free_files: how many files can still be created; None without a limit.
        is_read_only: whether it refuses all writes.
    """

    total_bytes: int
    free_bytes: int
    free_files: int | None = None
    is_read_only: bool = False


def read_disk(path: Path) -> DiskReading:
    """Read the state of a folder's file system; blocks for as long as the disk does.

    Raises:
        OSError: there is no such folder, or the disk does not answer.
    """
    found = os.statvfs(path)
    return DiskReading(
        total_bytes=found.f_blocks * found.f_frsize,
        free_bytes=found.f_bavail * found.f_frsize,
        free_files=found.f_favail if found.f_files else None,
        is_read_only=bool(found.f_flag & os.ST_RDONLY),
    )


def probe_disk(folder: Path) -> None:
    """Write as little as possible: a folder's modification time; blocks as `read_disk` does.

    A file system that became read-only after an error may not report it.

    Raises:
        OSError: the write failed.
    """
    os.utime(folder)


def reserve_bytes(settings: StorageSettings, total_bytes: int) -> int:
    """How much of a disk of this size must stay free, in bytes."""
    if settings.min_free_disk_mb:
        return int(settings.min_free_disk_mb * MB)
    return min(_MAX_RESERVE_BYTES, int(total_bytes * _RESERVE_SHARE))


def disk_failure(error: BaseException | str) -> DiskState | None:
    """What an error, or its text, means for the disk: FULL, READ_ONLY, or None for neither."""
    number = getattr(error, "errno", None)
    text = str(error)
    if number in _FULL_NUMBERS or any(part in text for part in _FULL_TEXTS):
        return DiskState.FULL
    if number == errno.EROFS or any(part in text for part in _READ_ONLY_TEXTS):
        return DiskState.READ_ONLY
    return None


class DiskJudge:
    """Judges one disk from readings and failed writes, with hysteresis so that it does not flap.

    Attributes:
        state: the last judgement.
        reading: the last reading; None before the first.
        reserve_bytes: how much must stay free.
    """

    def __init__(self, settings: StorageSettings) -> None:
        self.state = DiskState.OK
        self.reading: DiskReading | None = None
        self.reserve_bytes = 0
        self._settings = settings
        self._failure = DiskState.OK
        self._failed_at = 0.0

    def fail(self, state: DiskState, now: float) -> None:
        """Note that a write failed because the disk is in `state`; this counts for `HOLD_S`."""
        self._failure, self._failed_at = state, now
        self.state = state

    @property
    def has_ample_room(self) -> bool:
        """Whether even fast writers leave the disk room until the next probe."""
        found = self.reading
        return (
            found is not None
            and self.state is DiskState.OK
            and found.free_bytes - self.reserve_bytes > _FASTEST_BYTES_PER_S * PROBE_S
            and (found.free_files is None or found.free_files > _FASTEST_FILES_PER_S * PROBE_S)
        )

    def judge(self, reading: DiskReading, now: float, owed_bytes: int = 0) -> DiskState:
        """Judge a reading; return the new state.

        Args:
            reading: the disk's state.
            now: in s.
            owed_bytes: accepted data that has yet to be written here; it must stay free as well.
        """
        self.reading = reading
        reserve = reserve_bytes(self._settings, reading.total_bytes)
        self.reserve_bytes = reserve + owed_bytes
        if self._failure is not DiskState.OK and now - self._failed_at < HOLD_S:
            self.state = self._failure
            return self.state
        self._failure = DiskState.OK
        was_short = self.state is not DiskState.OK
        was_full = self.state is DiskState.FULL
        if reading.is_read_only:
            self.state = DiskState.READ_ONLY
        elif _is_below(reading, reserve * _FULL_SHARE, is_already=was_full):
            self.state = DiskState.FULL
        elif _is_below(reading, reserve + owed_bytes, is_already=was_short):
            self.state = DiskState.LOW
        else:
            self.state = DiskState.OK
        return self.state


def _is_below(reading: DiskReading, bound: float, *, is_already: bool) -> bool:
    factor = _RECOVERY if is_already else 1.0
    few_files = reading.free_files is not None and reading.free_files < _FEW_FILES * factor
    return few_files or reading.free_bytes < bound * factor
