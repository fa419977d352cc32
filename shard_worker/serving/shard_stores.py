"""The document stores of this worker's shards, for reading."""

from collections.abc import Callable
from pathlib import Path

from hedgerow.shard_worker.storage.picking import Pick
from hedgerow.shard_worker.storage.store import Store


class ShardStores:
    """Reads documents from any thread; the indexer process is the one that writes."""

    def __init__(self, data: Path, shards: tuple[int, ...]) -> None:
        """Read the stores of `shards` in the folder `data`; `open` opens them."""
        self._paths = {shard: data / "shards" / str(shard) / "store.sqlite" for shard in shards}
        self._stores: dict[int, Store] = {}

    def open(self) -> None:
        """Open all of them.

        Raises:
            ConfigurationError: one is absent or of another format.
        """
        self._stores = {
            shard: Store.open(path, read_only=True) for shard, path in self._paths.items()
        }

    def read(
        self,
        shard: int,
        uid: str,
        ids: list[str],
        max_bytes: int,
        pick: Pick | None,
        is_late: Callable[[], bool],
    ) -> list[bytes | int | None]:
        """See `Store.read`."""
        return self._stores[shard].read(uid, ids, max_bytes, pick, is_late)

    def close(self) -> None:
        """Close every thread's connection."""
        for store in self._stores.values():
            store.close()
