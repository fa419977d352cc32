"""The name of a worker that joins: made once, and kept in its data folder with what it stores."""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.machine.folder_lock import WORKER_FOLDER, FolderLock

_NAME = "name"
_MAX_BYTES = 200


@contextmanager
def named_worker(data: Path, worker_id: str | None, lock_wait_s: float) -> Iterator[str]:
    """Have a data folder for the block, and the name of the worker that it belongs to.

    Args:
        data: the data folder.
        worker_id: the name to use; None for the one in the folder, which is made if there is none.
        lock_wait_s: how long to wait for an earlier worker that drains, in s.

    Raises:
        ConfigurationError: another worker uses the folder, or its name cannot be read or kept.
    """
    folder = data / WORKER_FOLDER
    try:
        lock = FolderLock(folder, lock_wait_s)
    except OSError as error:
        raise ConfigurationError(f"data: {folder}: {error.strerror}") from error
    try:
        yield worker_id or _kept_name(folder / _NAME)
    finally:
        lock.release()


def _kept_name(path: Path) -> str:
    try:
        if path.exists():
            name = path.read_text(encoding="utf-8").strip()
            if not name or not name.isprintable() or len(name.encode()) > _MAX_BYTES:
                raise ConfigurationError(f"data: {path} does not hold a worker's name")
            return name
        name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        new = path.with_name(f"{_NAME}.new")
        with new.open("w", encoding="utf-8") as file:
            file.write(f"{name}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"data: {path}: {error}") from error
    return name
