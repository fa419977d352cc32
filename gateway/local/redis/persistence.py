"""A policy: when the embedded server writes its append-only file, and when it runs without it.

A server that cannot write its file refuses every write, and therefore also searches, which need its
queues. While its disk is full, the file is *suspended*: the server runs from memory only. The file
then has every append that was acknowledged before. To keep this complete, the right to append to
logs is withdrawn first (the *fence*). When there is room, the file is rewritten from memory, and
the fence is removed only after that has succeeded. If the server dies in between, it starts again
from its file, with the file on and without the fence, and nothing that matters is missing. Lost are
only data that workers send again by themselves (heartbeats, positions, counts) and requests whose
callers have given up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from hedgerow.common.machine.disk import DiskState

# A larger file that has doubled since its last rewrite contains mostly deleted data.
_LEAST_GAIN_BYTES: Final = 4_000_000
REWRITE_AGAIN_S: Final = 15.0


class Step(Enum):
    """The next step."""

    NOTHING = "nothing"
    SUSPEND = "suspend"  # put the fence up, then go on without the file
    RESUME = "resume"  # begin to rewrite the file
    REWRITE = "rewrite"  # again, since the last attempt failed; or to make it smaller
    RELEASE = "release"  # the file is complete: remove the fence


@dataclass(frozen=True, slots=True)
class FileState:
    """The state of the file, as the server reports it.

    Attributes:
        is_on: whether the server writes it.
        is_failing: whether writing it failed, so that the server refuses writes.
        is_rewriting: whether a rewrite is running or scheduled.
        has_rewrite_failed: whether the last rewrite failed.
        size_bytes: its size.
        base_bytes: its size after the last rewrite.
    """

    is_on: bool
    is_failing: bool = False
    is_rewriting: bool = False
    has_rewrite_failed: bool = False
    size_bytes: int = 0
    base_bytes: int = 0

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> "FileState":
        """Read the answer to `INFO persistence`."""
        is_on = bool(info.get("aof_enabled"))
        return cls(
            is_on=is_on,
            is_failing=is_on and info.get("aof_last_write_status") == "err",
            is_rewriting=bool(
                info.get("aof_rewrite_in_progress") or info.get("aof_rewrite_scheduled")
            ),
            has_rewrite_failed=info.get("aof_last_bgrewrite_status") == "err",
            size_bytes=int(info.get("aof_current_size", 0)),
            base_bytes=int(info.get("aof_base_size", 0)),
        )


class FilePolicy:
    """Decides the next step from the state of the disk and of the server."""

    def __init__(self) -> None:
        self._rewritten_at: float | None = None

    def next(self, disk: DiskState, file: FileState, *, is_fenced: bool, now: float) -> Step:
        """Decide.

        Args:
            disk: the state of the file's disk.
            file: the state of the file.
            is_fenced: whether the fence is up.
            now: in s.
        """
        if disk in (DiskState.FULL, DiskState.READ_ONLY) or file.is_failing:
            return Step.SUSPEND if file.is_on or not is_fenced else Step.NOTHING
        if not file.is_on:
            return Step.RESUME if disk is DiskState.OK else Step.NOTHING
        if file.is_rewriting:
            return Step.NOTHING
        if is_fenced:
            return self._rewrite(now) if file.has_rewrite_failed else Step.RELEASE
        is_mostly_gone = file.size_bytes >= max(_LEAST_GAIN_BYTES, 2 * file.base_bytes)
        return self._rewrite(now) if disk is DiskState.LOW and is_mostly_gone else Step.NOTHING

    def _rewrite(self, now: float) -> Step:
        if self._rewritten_at is not None and now - self._rewritten_at < REWRITE_AGAIN_S:
            return Step.NOTHING
        self._rewritten_at = now
        return Step.REWRITE
