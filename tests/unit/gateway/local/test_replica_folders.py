"""Where the replicas of shards are, and how they are moved: real folders, no process."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.machine.store_file import read_stamp
from hedgerow.gateway.local.placement import place
from hedgerow.gateway.local.processes.child import try_lock
from hedgerow.gateway.local.replica_folders import (
    Move,
    ReplicaFolder,
    carry_out,
    find_replicas,
    home_of,
    num_replicas_of,
    num_shards_of,
    plan_moves,
)
from hedgerow.shard_worker.storage.store import Store

NUM_SHARDS = 4
DATA = Path("data")


def homes_of(data: Path, workers: int, replicas: int) -> dict[int, list[Path]]:
    """For each shard, the folders of the workers that serve it."""
    served = place(NUM_SHARDS, workers, replicas)
    return {
        shard: [home_of(data, n, replicas) for n, one in enumerate(served) if shard in one]
        for shard in range(NUM_SHARDS)
    }


def follow(copies: Mapping[Path, int], moves: list[Move]) -> dict[Path, int]:
    """Where each replica (by number) is after the moves; each target must be free."""
    lie = dict(copies)
    for move in moves:
        assert move.target not in lie
        lie[move.target] = lie.pop(move.replica.folder)
    return lie


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 3)),
    st.tuples(st.integers(1, 4), st.integers(1, 3)),
    st.data(),
)
def test_the_best_copies_end_where_they_are_served(
    before: tuple[int, int], after: tuple[int, int], data: st.DataObject
) -> None:
    """From any layout to any other, no replica is lost or overwritten, and the best are kept."""
    (workers, replicas), (new_workers, new_replicas) = (
        (max(one), min(one)) for one in (before, after)
    )
    folders = [
        (shard, home / "shards" / str(shard))
        for shard, homes in homes_of(DATA, workers, replicas).items()
        for home in homes
    ]
    values = data.draw(st.permutations(range(len(folders))))
    worth = {folder: value for (_, folder), value in zip(folders, values, strict=True)}
    copies = [ReplicaFolder(shard, folder, is_used=True) for shard, folder in folders]
    assert num_replicas_of(copies) == replicas
    assert num_shards_of(copies) == NUM_SHARDS
    homes = homes_of(DATA, new_workers, new_replicas)
    moves = plan_moves(copies, homes, DATA / "unused", lambda copy: (worth[copy.folder],))
    lie = follow(worth, moves)
    assert sorted(lie.values()) == sorted(values)
    for shard in range(NUM_SHARDS):
        wanted = {home / "shards" / str(shard) for home in homes[shard]}
        served = sorted(value for folder, value in lie.items() if folder in wanted)
        of_shard = sorted(worth[folder] for number, folder in folders if number == shard)
        assert served == of_shard[-new_replicas:]


def test_copies_that_are_served_already_stay() -> None:
    """The same numbers again move nothing."""
    homes = homes_of(DATA, 3, 2)
    copies = [
        ReplicaFolder(shard, home / "shards" / str(shard), is_used=True)
        for shard, folders in homes.items()
        for home in folders
    ]
    assert plan_moves(copies, homes, DATA / "unused", lambda _: ()) == []


def make(folder: Path, content: str) -> None:
    """A copy, as far as its name goes."""
    folder.mkdir(parents=True)
    (folder / "content").write_text(content)


def test_copies_are_found_moved_and_found_again(tmp_path: Path) -> None:
    """A surplus replica is moved aside, not deleted, and is used again when it is wanted."""
    for worker in (0, 1):
        make(tmp_path / "workers" / f"worker-{worker}" / "shards" / "0", f"of {worker}")
    one_home = {0: [tmp_path]}

    def moves_to(homes: dict[int, list[Path]]) -> list[Move]:
        found = find_replicas(tmp_path)
        return plan_moves(found, homes, tmp_path / "unused", lambda one: ("1" in one.folder.name,))

    assert num_shards_of(find_replicas(tmp_path)) == 1
    moves = moves_to(one_home)
    assert [move.is_retired for move in moves] == [True, False]
    carry_out(moves, 0.0)
    assert num_replicas_of(find_replicas(tmp_path)) == 1
    assert {one.is_used for one in find_replicas(tmp_path)} == {True, False}
    carry_out(moves_to({0: [tmp_path / "workers" / f"worker-{n}" for n in (2, 3)]}), 0.0)
    found = find_replicas(tmp_path)
    assert [one.is_used for one in found] == [True, True]
    assert {(one.folder / "content").read_text() for one in found} == {"of 0", "of 1"}
    assert moves_to({0: [tmp_path / "workers" / f"worker-{n}" for n in (2, 3)]}) == []


def test_a_copy_that_is_written_to_is_not_moved(tmp_path: Path) -> None:
    """While a worker of an earlier run has the lock, the error names the folder."""
    folder = tmp_path / "shards" / "0"
    make(folder, "")
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    assert try_lock(lock)
    moves = [
        Move(ReplicaFolder(0, folder, is_used=True), tmp_path / "elsewhere" / "0", is_retired=False)
    ]
    with pytest.raises(ConfigurationError, match="shards/0: a worker of an earlier run"):
        carry_out(moves, 0.0)
    os.close(lock)
    carry_out(moves, 0.0)
    assert not folder.exists()


def test_a_stamp_is_what_the_store_says(tmp_path: Path) -> None:
    """Which replica a closed store is, and how far it is, without opening it as a store."""
    assert read_stamp(tmp_path) is None
    store = Store.open(tmp_path / "store.sqlite")
    store.apply("12-3")
    replica_id = store.replica_id
    store.close()
    assert read_stamp(tmp_path) == (replica_id, "12-3")
    (tmp_path / "store.sqlite").write_bytes(b"no database" * 100)
    assert read_stamp(tmp_path) is None
