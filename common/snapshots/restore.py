"""Replaces a shard's folder by a snapshot, so that a kill at any moment leaves no half state.

    fetch into a separate folder, compare every file ► under the folder's lock: remove the old
    store, move the indexes, and the new store last ► the folder has a complete store, or none

A store that exists is complete; indexes without a store count as an empty folder, which is restored
again. The fetched store has no replica id (`shard_worker.storage.store_copy` leaves it out), so
the copy gets its own when it is opened.
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
    """The folder of a shard in a data folder."""
    return data / "shards" / str(shard)


def data_folder(folder: Path) -> Path:
    """The data folder that has the folder of a shard."""
    return folder.parent.parent


def has_store(data: Path, shard: int) -> bool:
    """Whether a data folder has, or has had, documents of a shard."""
    return (shard_folder(data, shard) / STORE).exists()


def restore(
    store: SnapshotStore,
    manifest: Manifest,
    data: Path,
    lock_wait_s: float,
    before_piece: Callable[[int], None] = lambda _num_bytes: None,
) -> None:
    """Replace a shard in a data folder by a snapshot, whatever the folder held.

    Args:
        store: where the snapshot is.
        manifest: its manifest.
        data: the data folder.
        lock_wait_s: how long to wait while another process has the shard's folder, in s.
        before_piece: called with the number of bytes of each piece before it is written; it may
            wait, and an error that it raises ends the restoring.

    Raises:
        SnapshotError: the target does not answer, a file does not match the manifest, or this
            disk has no room for it. The shard's folder is then unchanged, or empty.
        ConfigurationError: another process still has the folder.
    """
    folder = shard_folder(data, manifest.shard)
    aside = data / "restoring" / str(manifest.shard)
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        store.fetch(manifest, aside, before_piece)
        replace_shard(data, manifest.shard, aside, lock_wait_s)
    except OSError as error:
        raise SnapshotError(f"{folder}: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def replace_shard(data: Path, shard: int, fetched: Path, lock_wait_s: float) -> None:
    """Put a complete copy of a shard in the place of whatever the data folder holds of it.

    Args:
        data: the data folder.
        shard: the shard.
        fetched: the folder of the copy, on the same file system, with files that are durable. What
            it has afterwards is to be removed.
        lock_wait_s: how long to wait while another process has the shard's folder, in s.

    Raises:
        ConfigurationError: another process still has the folder.
        OSError: the files cannot be moved.
    """
    folder = shard_folder(data, shard)
    lock = FolderLock(folder, lock_wait_s)
    try:
        _replace(folder, fetched)
    finally:
        lock.release()


def _replace(folder: Path, fetched: Path) -> None:
    copy = sorted(fetched.iterdir())
    # The store with its write-ahead log first: without them, the rest counts as an empty folder.
    for name in (STORE, f"{STORE}-wal", f"{STORE}-shm"):
        (folder / name).unlink(missing_ok=True)
    for old in folder.iterdir():
        if old.is_dir():
            # The library reads an index that it has opened once more, in a thread, and makes a
            # file for that: in a folder that is being removed, which then would not be empty.
            old.rename(fetched / f"{old.name}.old")
        elif old.name != LOCK_FILE:
            old.unlink()
    _sync(folder)
    for new in copy:
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
