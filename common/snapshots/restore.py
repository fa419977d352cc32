"""Puts a snapshot into the place of a shard's folder, so that a kill at any moment leaves no half.

    fetch into a folder aside, compare every file ► under the folder's lock: remove the old store,
    move the indexes, and the new store last ► whoever opens the shard finds a store, or none

A store that is there is whole; indexes without a store count as an empty folder, which is restored
anew. What is fetched has no replica id (`shard_worker.storage.store_copy` leaves it out), so that
the copy draws one of its own when it is opened.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from hedgerow.common.errors import SnapshotError
from hedgerow.common.machine.folder_lock import LOCK_FILE, FolderLock
from hedgerow.common.snapshots.manifest import STORE, Manifest
from hedgerow.common.snapshots.store import SnapshotStore


def shard_folder(data: Path, shard: int) -> Path:
    """Where a shard lies in a data folder."""
    return data / "shards" / str(shard)


def has_store(data: Path, shard: int) -> bool:
    """Whether a data folder holds documents of a shard, or has held some."""
    return (shard_folder(data, shard) / STORE).exists()


def restore(
    store: SnapshotStore,
    manifest: Manifest,
    data: Path,
    lock_wait_s: float,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Make a data folder's shard what a snapshot holds, whatever was there.

    Args:
        store: where the snapshot is.
        manifest: its manifest.
        data: the data folder.
        lock_wait_s: how long to wait while somebody else has the shard's folder, in s.
        check: called between pieces; what it raises ends the restoring.

    Raises:
        SnapshotError: the target does not answer, a file is not what the manifest says, or this
            disk cannot take it. The shard's folder is then as it was, or empty.
        ConfigurationError: somebody else has the folder still.
    """
    folder = shard_folder(data, manifest.shard)
    aside = data / "restoring" / str(manifest.shard)
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        store.fetch(manifest, aside, check)
        lock = FolderLock(folder, lock_wait_s)
        try:
            _replace(folder, aside)
        finally:
            lock.release()
    except OSError as error:
        raise SnapshotError(f"{folder}: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _replace(folder: Path, fetched: Path) -> None:
    # The store with its write-ahead log first: without them, what is left counts for nothing.
    for name in (STORE, f"{STORE}-wal", f"{STORE}-shm"):
        (folder / name).unlink(missing_ok=True)
    for old in folder.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name != LOCK_FILE:
            old.unlink()
    _sync(folder)
    for new in sorted(fetched.iterdir()):
        if new.is_dir():
            _sync(new)
            new.rename(folder / new.name)
    _sync(folder)
    (fetched / STORE).rename(folder / STORE)
    _sync(folder)


def _sync(folder: Path) -> None:
    """Make a folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
