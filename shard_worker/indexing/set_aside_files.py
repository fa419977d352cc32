"""The files of documents that could not be indexed: one for each shard, of limited size.

If a new line does not fit, the oldest lines are removed. Every document that is set aside is also
named in the program's log, so it leaves a trace even if its line was removed.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import structlog

from hedgerow.common.machine.disk import MB
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.runtime.ticks import sleep_to_tick

LOOK_INTERVAL_S: Final = 5.0
_LARGE: Final = frozenset({"document", "operation"})

_log = structlog.get_logger()


def append_line(path: Path, line: bytes, max_bytes: int) -> int:
    """Append a line; it is on disk when this returns.

    A kill at any moment leaves complete lines, old or new, and at most a part of the last one,
    which the next call removes.

    Args:
        path: the file; created if it does not exist.
        line: the line with its newline, of `max_bytes` at most.
        max_bytes: largest size of the file afterwards; the oldest lines are removed until it fits.

    Returns:
        How many lines were removed.

    Raises:
        OSError: the file cannot be written; its complete lines are unchanged.
    """
    with path.open("a+b") as file:
        size = _end_of_lines(file)
        file.truncate(size)
        excess = size + len(line) - max_bytes
        if excess <= 0:
            file.write(line)
            _sync(file)
            return 0
        num_dropped = _skip_lines(file, excess)
        replacement = path.with_name(f"{path.name}.new")
        with replacement.open("wb") as new:
            shutil.copyfileobj(file, new)
            new.write(line)
            _sync(new)
    replacement.replace(path)
    return num_dropped


class SetAsideFiles:
    """Keeps documents that were set aside, in `data/set-aside/shard-N.ndjson`."""

    def __init__(self, data: Path, max_bytes: int, counters: Counters) -> None:
        """Keep at most `max_bytes` for each shard.

        Args:
            data: the worker's folder.
            max_bytes: the limit of a file.
            counters: `set_aside_dropped` counts the lines that were removed.
        """
        self._folder = data / "set-aside"
        self._max_bytes = max_bytes
        self._counters = counters
        self._bytes = 0

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self._folder / f"shard-{shard}.ndjson"

    async def keep(self, shard: int, record: Mapping[str, Any]) -> None:
        """Append a record, without its `document` if that alone is too large.

        Raises:
            OSError: it cannot be written.
        """
        num_dropped = await asyncio.to_thread(self._keep, shard, record)
        if num_dropped:
            self._counters.add("set_aside_dropped", num_dropped)
            _log.warning(
                "set_aside_full",
                shard=shard,
                dropped=num_dropped,
                max_mb=self._max_bytes / MB,
                file=str(self.path(shard)),
            )

    async def watch(self) -> None:
        """Measure the files until cancelled: an operator may empty or remove them."""
        while True:
            await asyncio.to_thread(self.measure)
            await sleep_to_tick(LOOK_INTERVAL_S)

    def measure(self) -> None:
        """Measure the files once; files that cannot be read count as empty."""
        num_bytes = 0
        try:
            for path in self._folder.glob("shard-*.ndjson"):
                num_bytes += path.stat().st_size
        except OSError as error:
            _log.debug("set_aside_unknown", folder=str(self._folder), error=str(error))
        self._bytes = num_bytes

    def to_json(self) -> dict[str, int]:
        """What the heartbeat says: the files' `bytes`, and the lines `dropped` since the start."""
        return {"bytes": self._bytes, "dropped": self._counters["set_aside_dropped"]}

    def _keep(self, shard: int, record: Mapping[str, Any]) -> int:
        self._folder.mkdir(exist_ok=True)
        line = _line_of(record)
        if len(line) > self._max_bytes:
            rest = {name: value for name, value in record.items() if name not in _LARGE}
            line = _line_of({**rest, "left_out_bytes": len(line)})
        num_dropped = append_line(self.path(shard), line, self._max_bytes)
        self.measure()
        return num_dropped


def _line_of(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _end_of_lines(file: BinaryIO) -> int:
    """Where the last complete line ends; a kill may have left a part of another after it."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 65_536)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _skip_lines(file: BinaryIO, num_bytes: int) -> int:
    """Seek to the first line that begins at `num_bytes` or later; returns how many precede it."""
    file.seek(0)
    num_lines = 0
    while file.tell() < num_bytes and file.readline():
        num_lines += 1
    return num_lines


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
