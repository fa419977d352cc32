"""A shard's folder belongs to one indexer at a time.

Source: flock(2); the system releases a lock when its holder dies, whatever the cause.
"""

import fcntl
import os
import time
from pathlib import Path

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.machine.private_folder import FILE_MODE

LOCK_FILE = "lock"
WORKER_FOLDER = "worker"  # in a data folder: locked by the worker that has joined with it
_POLL_S = 0.05


class FolderLock:
    """Holds a folder from the creation of this object until `release`."""

    def __init__(self, folder: Path, wait_s: float) -> None:
        """Lock `folder`, and create it if it does not exist.

        Args:
            folder: the folder to lock.
            wait_s: how long to wait for another holder to end, in s. Blocks.

        Raises:
            ConfigurationError: another process still holds it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, FILE_MODE)
        give_up_at = time.monotonic() + wait_s
        while not self._is_taken():
            if time.monotonic() >= give_up_at:
                self.release()
                raise ConfigurationError(
                    f"another worker writes to {folder}; every worker of a shard needs a data "
                    "folder of its own"
                )
            time.sleep(_POLL_S)

    def _is_taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Release the folder."""
        os.close(self._file)
