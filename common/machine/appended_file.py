"""A file that is appended to, and of which a part counts once something durable refers to it."""

import os
from pathlib import Path
from typing import Final

_BUFFER_BYTES: Final = 262_144


class AppendedFile:
    """A file that is appended to; owned by one thread.

    Attributes:
        size: its bytes, those that are still in the buffer included.
    """

    def __init__(self, path: Path, *, is_new: bool) -> None:
        """Append to a file.

        Args:
            path: where it is.
            is_new: whether nothing refers to it yet; such a file is removed unless it is synced.

        Raises:
            OSError: it cannot be opened.
        """
        self._path = path
        self._file = path.open("ab", buffering=_BUFFER_BYTES)
        self.size = path.stat().st_size
        self._is_new = is_new
        self._is_synced = True

    def fill_up(self, multiple: int) -> None:
        """Add zeros until the size is a multiple: a process was killed while it wrote a part."""
        if rest := self.size % multiple:
            self.size += multiple - rest
            self._file.truncate(self.size)
            self._file.seek(self.size)

    def write(self, part: bytes) -> None:
        """Append a part."""
        self._is_synced = False
        self._file.write(part)
        self.size += len(part)

    def flush(self) -> None:
        """Make all parts visible to this machine's readers."""
        self._file.flush()

    def sync(self) -> None:
        """Make all parts durable, and a new file's name.

        Raises:
            OSError: they cannot be written.
        """
        if self._is_synced:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._is_new:
            _sync_folder(self._path.parent)
        self._is_new, self._is_synced = False, True

    def close(self) -> bool:
        """Close the file; returns whether it was removed, since it was new and never synced."""
        try:
            self._file.close()
        finally:
            if self._is_new:
                self._path.unlink(missing_ok=True)
        return self._is_new


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
