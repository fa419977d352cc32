"""The data of shards on a worker's disk."""

from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.shard_worker.placement.copies import Copies
from hedgerow.shard_worker.storage.store import Store


def make_copy(data: Path, shard: int) -> str:
    """A shard's store and something of an index; returns the replica's id."""
    folder = data / "shards" / str(shard)
    store = Store.open(folder / "store.sqlite")
    replica = store.replica_id
    store.close()
    (folder / "u1").mkdir()
    (folder / "u1" / "segment").write_bytes(b"words")
    return replica


def folders_of(data: Path) -> list[str]:
    """The names of all folders, at any depth."""
    return sorted(path.name for path in data.rglob("*") if path.is_dir())


async def test_shards_with_a_store_are_stored(tmp_path: Path) -> None:
    """A folder without a store counts as empty."""
    copies = Copies(tmp_path, AsyncMock(spec=ShardLog))
    assert await copies.stored() == set()
    for shard in (3, 11):
        make_copy(tmp_path, shard)
    (tmp_path / "shards" / "4").mkdir()
    (tmp_path / "shards" / "notes").mkdir()
    assert await copies.stored() == {3, 11}


async def test_a_copy_is_forgotten_by_the_log_and_removed(tmp_path: Path) -> None:
    """The others stay; a second time there is nothing to do."""
    log = AsyncMock(spec=ShardLog)
    copies = Copies(tmp_path, log)
    replica = make_copy(tmp_path, 3)
    make_copy(tmp_path, 4)
    await copies.remove(3)
    log.forget_replica.assert_awaited_once_with(3, replica)
    assert not (tmp_path / "shards" / "3").exists()
    assert await copies.stored() == {4}
    await copies.remove(3)
    assert log.forget_replica.await_count == 1


async def test_a_copy_that_the_log_does_not_forget_stays(tmp_path: Path) -> None:
    """A log would wait for ever for a replica that is gone."""
    log = AsyncMock(spec=ShardLog)
    log.forget_replica.side_effect = RedisUnavailableError("away")
    copies = Copies(tmp_path, log)
    make_copy(tmp_path, 3)
    with pytest.raises(RedisUnavailableError):
        await copies.remove(3)
    assert await copies.stored() == {3}


async def test_what_a_killed_worker_has_left_is_removed(tmp_path: Path) -> None:
    """A snapshot that was being fetched, and a folder whose store was removed; nothing else."""
    copies = Copies(tmp_path, AsyncMock(spec=ShardLog))
    for shard in (3, 4):
        make_copy(tmp_path, shard)
    (tmp_path / "shards" / "4" / "store.sqlite").unlink()
    (tmp_path / "restoring" / "5").mkdir(parents=True)
    await copies.tidy()
    assert await copies.stored() == {3}
    assert folders_of(tmp_path) == ["3", "shards", "u1"]


async def test_the_log_forgets_a_clone_that_a_killed_worker_has_left(tmp_path: Path) -> None:
    """It knows the replica from the beginning of the clone, and would wait for it for ever."""
    log = AsyncMock(spec=ShardLog)
    copies = Copies(tmp_path, log)
    made = Store.open(tmp_path / "cloning" / "7" / "store.sqlite")
    replica = made.replica_id
    made.close()
    (tmp_path / "cloning" / "8").mkdir()
    (tmp_path / "cloning" / "8" / "store.sqlite").write_bytes(b"")
    await copies.tidy()
    log.forget_replica.assert_awaited_once_with(7, replica)
    assert folders_of(tmp_path) == []
