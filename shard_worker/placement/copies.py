"""The data of shards on a worker's disk, whether the worker holds them or not."""

import asyncio
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

import structlog

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.snapshots.manifest import STORE
from hedgerow.common.snapshots.restore import has_store, shard_folder
from hedgerow.shard_worker.indexing.shard_clone import CLONES
from hedgerow.shard_worker.storage.store import Store

log = structlog.get_logger()


class Copies:
    """Finds the data of shards in a data folder, and removes what is no longer needed."""

    def __init__(self, data: Path, shard_log: ShardLog) -> None:
        """Look in the folder `data`; `shard_log` forgets the replicas that are removed."""
        self._data = data
        self._log = shard_log

    async def tidy(self) -> None:
        """Remove what a worker that was killed half-way has left, before any shard is opened."""
        unfinished = await asyncio.to_thread(self._unfinished)
        with suppress(RedisUnavailableError):  # they are forgotten later, as lost replicas are
            for shard, replica in unfinished.items():
                await self._log.forget_replica(shard, replica)
        await asyncio.to_thread(self._tidy)

    async def stored(self) -> frozenset[int]:
        """The shards that have a store in the folder."""
        return await asyncio.to_thread(self._stored)

    async def remove(self, shard: int) -> None:
        """Remove the data of a shard that is not open; the log waits for it no longer.

        Raises:
            RedisUnavailableError: the log still knows the replica; the data is still there.
            OSError, sqlite3.Error: the data cannot be read, or not all of it be removed.
        """
        replica = await asyncio.to_thread(self._replica, shard)
        # First, since a replica that is gone would hold up the log for ever. One that is still
        # there is known again as soon as it is opened.
        if replica is not None:
            await self._log.forget_replica(shard, replica)
        await asyncio.to_thread(self._remove, shard)
        log.info("shard_removed", shard=shard, replica=replica)

    def _tidy(self) -> None:
        shutil.rmtree(self._data / "restoring", ignore_errors=True)
        shutil.rmtree(self._data / CLONES, ignore_errors=True)
        for shard in self._folders() - self._stored():
            shutil.rmtree(shard_folder(self._data, shard), ignore_errors=True)

    def _unfinished(self) -> dict[int, str]:
        """The replicas that were being cloned when the worker was killed, by shard."""
        found = {}
        for path in (self._data / CLONES).glob(f"*/{STORE}"):
            with suppress(sqlite3.Error, ConfigurationError):  # it is not that far
                store = Store.open(path, read_only=True)
                found[int(path.parent.name)] = store.replica_id
                store.close()
        return found

    def _stored(self) -> frozenset[int]:
        return frozenset(shard for shard in self._folders() if has_store(self._data, shard))

    def _folders(self) -> frozenset[int]:
        try:
            names = [path.name for path in (self._data / "shards").iterdir()]
        except FileNotFoundError:
            return frozenset()
        return frozenset(int(name) for name in names if name.isdecimal())

    def _replica(self, shard: int) -> str | None:
        if not has_store(self._data, shard):
            return None
        store = Store.open(shard_folder(self._data, shard) / STORE, read_only=True)
        try:
            return store.replica_id
        finally:
            store.close()

    def _remove(self, shard: int) -> None:
        folder = shard_folder(self._data, shard)
        # Without a store, the rest of the folder counts as empty, after a kill at any moment.
        for name in (STORE, f"{STORE}-wal", f"{STORE}-shm"):
            (folder / name).unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
