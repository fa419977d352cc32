"""Reading documents of shards that come and go."""

import threading
from pathlib import Path
from unittest.mock import patch

import pytest

from hedgerow.common.errors import ConfigurationError, WorkError
from hedgerow.shard_worker.serving.shard_stores import ShardStores
from hedgerow.shard_worker.storage.store import Store


def make_store(data: Path, shard: int) -> None:
    """A store with one document."""
    store = Store.open(data / "shards" / str(shard) / "store.sqlite")
    store.apply("1-0", definitions={"u": "{}"}, documents={"u": {"a": b"{}"}})
    store.close()


def read(stores: ShardStores, shard: int) -> list[bytes | int | None]:
    """Read the document."""
    return stores.read(shard, "u", ["a"], 1000, None, lambda: False)


def test_a_shard_is_read_from_its_opening_to_its_close(tmp_path: Path) -> None:
    """Another shard is not concerned; afterwards it can be opened again."""
    for shard in (0, 1):
        make_store(tmp_path, shard)
    stores = ShardStores(tmp_path)
    with pytest.raises(WorkError, match="shard 0"):
        read(stores, 0)
    with pytest.raises(ConfigurationError):
        stores.open(7)
    for _ in range(2):
        for shard in (0, 1):
            stores.open(shard)
            assert read(stores, shard) == [b"{}"]
        stores.close(0)
        with pytest.raises(WorkError, match="let go of shard 0"):
            read(stores, 0)
        assert read(stores, 1) == [b"{}"]
    stores.close(0)
    stores.close_all()


def test_a_store_is_closed_by_the_last_thread_that_reads_it(tmp_path: Path) -> None:
    """A thread that has begun reads to the end, and no other begins."""
    make_store(tmp_path, 0)
    stores = ShardStores(tmp_path)
    stores.open(0)
    is_reading, may_end, closed = threading.Event(), threading.Event(), threading.Event()
    answers: list[object] = []
    close = Store.close

    def note_and_close(store: Store) -> None:
        closed.set()
        close(store)

    def hang(_store: Store, *_arguments: object) -> list[bytes]:
        is_reading.set()
        may_end.wait(10)
        assert not closed.is_set()
        return [b"read"]

    with (
        patch.object(Store, "read", hang),
        patch.object(Store, "close", note_and_close),
    ):
        thread = threading.Thread(target=lambda: answers.append(read(stores, 0)))
        thread.start()
        assert is_reading.wait(10)
        stores.close(0)
        assert not closed.is_set()
        with pytest.raises(WorkError):
            read(stores, 0)
        may_end.set()
        thread.join(10)
        assert closed.is_set()
    assert answers == [[b"read"]]
