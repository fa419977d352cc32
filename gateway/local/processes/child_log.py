"""The log of one child process: a file of bounded size, and its warnings as they appear.

A child that writes where this process does has an `InheritedLog` instead.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from hedgerow.common.machine.disk import DiskState, disk_failure
from hedgerow.common.machine.private_folder import FILE_MODE
from hedgerow.common.observability.printable import printable

MAX_BYTES = 10_000_000
_LONGEST_READ = 262_144
_GRAVE = ("warning", "error", "critical")
_STDERR: Final = 2


class LogLine(NamedTuple):
    """A line that the operator should see.

    Attributes:
        level: warning, error or critical; an unstructured line counts as an error, since it
            may belong to a traceback.
        text: the event and its values, or the line itself; fit for a terminal.
    """

    level: str
    text: str


class Log(Protocol):
    """Takes what a child writes."""

    def open(self) -> int:
        """Open it for the child; returns a descriptor, which the caller closes."""

    def new_lines(self) -> list[LogLine]:
        """Return the lines since the last call that the operator should see."""

    def trim(self) -> None:
        """Bound its size."""

    @property
    def name(self) -> str:
        """What messages call it."""


class InheritedLog:
    """This process's standard error, where the operator sees everything anyway."""

    name = "standard error"

    def open(self) -> int:
        """Open it for the child; returns a descriptor, which the caller closes."""
        return os.dup(_STDERR)

    def new_lines(self) -> list[LogLine]:
        """Return nothing: all was seen."""
        return []

    def trim(self) -> None:
        """Leave that to what this process writes to."""


class ChildLog:
    """A file that a child appends to by itself, so that it can log even after this process ends.

    Its size is bounded by copying it to `NAME.log.1` and truncating it: the child has opened it
    with O_APPEND, so its next line goes to the new end. A line written in between is lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path)

    def open(self) -> int:
        """Open it for the child; returns a descriptor, which the caller closes."""
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)

    def new_lines(self) -> list[LogLine]:
        """Return the lines since the last call that the operator should see."""
        try:
            size = self.path.stat().st_size
            if size == self._offset:  # as is usual
                return []
            with self.path.open("rb") as file:
                if size < self._offset:
                    self._offset, self._rest = 0, b""
                file.seek(self._offset)
                data = file.read(_LONGEST_READ)
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_LONGEST_READ:]
        return [grave for line in lines if (grave := read_line(line)) is not None]

    def trim(self) -> None:
        """Move the content aside if it is too long; on a full disk, drop it."""
        try:
            if self.path.stat().st_size < MAX_BYTES:
                return
        except FileNotFoundError:
            return
        aside = self.path.with_suffix(".log.1")
        try:
            aside.touch(FILE_MODE)
            shutil.copyfile(self.path, aside)
        except OSError as error:
            # Keeping it would use up space that others need on a full disk, again and again.
            aside.unlink(missing_ok=True)
            if disk_failure(error) is not DiskState.FULL:
                raise
        os.truncate(self.path, 0)
        self._offset, self._rest = 0, b""

    def tail(self, num_lines: int) -> list[str]:
        """Read the last lines, whatever their level; fit for a terminal."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LONGEST_READ))
                lines = file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [printable(line) for line in lines[-num_lines:]]


def read_line(line: bytes) -> LogLine | None:
    """Read one line of a log; returns None if the operator need not see it at once."""
    text = line.decode(errors="replace").rstrip()
    if not text:
        return None
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or "event" not in fields:
        return LogLine("error", printable(text))
    level = str(fields.pop("level", "info"))
    if level not in _GRAVE:
        return None
    fields.pop("timestamp", None)
    # The traceback stays in the file; its last line says what happened.
    exception = str(fields.pop("exception", "")).strip().splitlines()
    if exception:
        fields["exception"] = exception[-1]
    event = fields.pop("event")
    said = " ".join([str(event), *(f"{key}={value}" for key, value in fields.items())])
    return LogLine(level, printable(said))
