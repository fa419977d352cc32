"""The document stores of this worker's shards, for reading."""

import threading
from collections.abc import Callable
from pathlib import Path

from hedgerow.common.errors import WorkError
from hedgerow.common.snapshots.manifest import STORE
from hedgerow.common.snapshots.restore import shard_folder
from hedgerow.shard_worker.storage.picking import Pick
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.term_statistics import TermStatistics, statistics_path


class ShardStores:
    """Reads documents from any thread; the indexer process is the one that writes."""

    def __init__(self, data: Path) -> None:
        """Read stores in the folder `data`, once they are opened."""
        self._data = data
        self._stores: dict[int, _OpenStore] = {}

    def open(self, shard: int) -> None:
        """Open a shard's store, unless it is open.

        Raises:
            ConfigurationError: it is absent or of another format.
        """
        if shard not in self._stores:
            path = shard_folder(self._data, shard) / STORE
            self._stores[shard] = _OpenStore(Store.open(path, read_only=True))

    def definition(self, shard: int, uid: str) -> str | None:
        """See `Store.definition`.

        Raises:
            WorkError: the worker has let go of the shard.
        """
        opened = self._begin(shard)
        try:
            return opened.store.definition(uid)
        finally:
            opened.end()

    def statistics(self, uid: str) -> TermStatistics | None:
        """The term statistics of a collection, to be closed; None if there are none yet."""
        try:
            return TermStatistics.open(statistics_path(self._data, uid))
        except OSError:
            return None

    def read(
        self,
        shard: int,
        uid: str,
        ids: list[str],
        max_bytes: int,
        pick: Pick | None,
        is_late: Callable[[], bool],
    ) -> list[bytes | int | None]:
        """See `Store.read`.

        Raises:
            WorkError: the worker has let go of the shard.
        """
        opened = self._begin(shard)
        try:
            return opened.store.read(uid, ids, max_bytes, pick, is_late)
        finally:
            opened.end()

    def _begin(self, shard: int) -> "_OpenStore":
        opened = self._stores.get(shard)
        if opened is None or not opened.begin():
            raise WorkError(f"this worker has let go of shard {shard}")
        return opened

    def close(self, shard: int) -> None:
        """Close a shard's store, once no thread reads it any more; does not wait for that."""
        if (opened := self._stores.pop(shard, None)) is not None:
            opened.close()

    def close_all(self) -> None:
        """Close every thread's connection to every store."""
        for opened in self._stores.values():
            opened.store.close()


class _OpenStore:
    """A store, and how many threads are reading it."""

    __slots__ = ("_is_closing", "_lock", "_num_reading", "store")

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._num_reading = 0
        self._is_closing = False

    def begin(self) -> bool:
        """A thread begins to read; returns whether it may."""
        with self._lock:
            self._num_reading += not self._is_closing
            return not self._is_closing

    def end(self) -> None:
        """A thread has read; the last one closes the store if it is to be closed."""
        with self._lock:
            self._num_reading -= 1
            is_unused = self._is_closing and self._num_reading == 0
        if is_unused:
            self.store.close()

    def close(self) -> None:
        """Close the store now or when the last thread has read."""
        with self._lock:
            self._is_closing = True
            is_unused = self._num_reading == 0
        if is_unused:
            self.store.close()
