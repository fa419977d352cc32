"""The document stores of this worker's shards, for reading."""

from pathlib import Path

from shard_worker.store import Store


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

    def get(self, shard: int, uid: str, ids: list[str]) -> list[bytes | None]:
        """Documents as stored (JSON), in the order asked for; None where there is none."""
        return self._stores[shard].get(uid, ids)

    def close(self) -> None:
        """Close every thread's connection."""
        for store in self._stores.values():
            store.close()
