"""Rereads the key file when it changes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.runtime.ticks import sleep_to_tick
from hedgerow.gateway.access.key import Key
from hedgerow.gateway.access.key_file import read_keys
from hedgerow.gateway.access.key_ring import KeyRing

log = structlog.get_logger()

INTERVAL_S: Final = 1.0
_Version = tuple[int, int, int]  # of the file: change time, size, inode


class KeyWatch:
    """Keeps a key ring up to date with its file.

    If the file is broken, the ring stays as it was: a mistake in an editor must not lock out all
    callers. If the file is gone, the ring is empty: deleting it revokes all keys.
    """

    def __init__(self, path: Path, ring: KeyRing) -> None:
        """Keep `ring` up to date with the file at `path`."""
        self._path = path
        self._ring = ring
        self._version: _Version | None = None

    def load(self) -> None:
        """Read the file for the first time.

        Raises:
            ConfigurationError: it is broken, and there is no earlier version to keep.
        """
        found = self._changed()
        if found is not None:
            self._ring.replace(found)

    @asynccontextmanager
    async def running(
        self,
        interval_s: float = INTERVAL_S,
        on_change: Callable[[frozenset[str]], None] = lambda _: None,
    ) -> AsyncIterator[None]:
        """Check the file at intervals during the block.

        Args:
            interval_s: the interval, in s.
            on_change: called after each change with the names of the valid keys.
        """
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run(interval_s, on_change), name="keys")
            try:
                yield
            finally:
                task.cancel()

    async def _run(self, interval_s: float, on_change: Callable[[frozenset[str]], None]) -> None:
        while True:
            await sleep_to_tick(interval_s)
            if await self.look():
                on_change(self._ring.names)

    async def look(self) -> bool:
        """Reread the file if it has changed; returns whether the keys have changed."""
        try:
            # In a thread, since the file may be on a slow disk.
            keys = await asyncio.to_thread(self._changed)
        except ConfigurationError as error:
            self._keep_last(str(error))
            return False
        self._ring.error = ""
        if keys is None:
            return False
        self._ring.replace(keys)
        log.info("keys_read", file=str(self._path), keys=len(keys))
        return True

    def _keep_last(self, reason: str) -> None:
        if reason != self._ring.error:  # log it once
            log.error("keys_file_broken", reason=reason, kept="the last good keys")
        self._ring.error = reason

    def _changed(self) -> tuple[Key, ...] | None:
        """Return the keys of a file that has changed since it was last read."""
        try:
            found = self._path.stat()
            version = (found.st_mtime_ns, found.st_size, found.st_ino)
            if version == self._version:
                return None
            keys = read_keys(self._path)
        except FileNotFoundError:
            was_there, self._version = self._version is not None, None
            return () if was_there else None
        except OSError as error:
            raise ConfigurationError(f"keys file {self._path}: {error.strerror}") from error
        self._version = version  # taken before reading, so that a newer file is read again
        return keys
