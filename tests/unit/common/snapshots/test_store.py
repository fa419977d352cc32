"""Snapshots on their target, and back from there into a data folder."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import fsspec
import pytest
from pydantic import SecretStr

from hedgerow.common.errors import ConfigurationError, SnapshotError
from hedgerow.common.machine.folder_lock import FolderLock
from hedgerow.common.settings.snapshots import SnapshotSettings
from hedgerow.common.snapshots.manifest import MANIFEST, MAX_MANIFEST_BYTES, STORE, Manifest
from hedgerow.common.snapshots.restore import has_store, restore, shard_folder
from hedgerow.common.snapshots.store import SnapshotStore
from hedgerow.shard_worker.snapshots.recovery import restore_shard
from tests.unit.support.snapshots import BOOKS, held, indexer, upload, wait, write


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SnapshotStore]:
    """An empty target: a folder, and a store that is none."""
    if request.param == "folder":
        yield SnapshotStore(str(tmp_path / "target"), "prefix")
        return
    yield SnapshotStore(f"memory://{tmp_path.name}", "prefix")
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard's copy, ready to be uploaded; no test changes it."""
    folder = tmp_path_factory.mktemp("frozen")
    shard = indexer(folder / "origin")
    write(shard, 1)
    wait(shard.freeze(folder / "copy"))
    shard.close()
    return folder / "copy"


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of other documents, to be copied to where a test needs it."""
    folder = tmp_path_factory.mktemp("older")
    shard = indexer(folder)
    write(shard, 0)
    shard.close()
    return folder


def on_target(store: SnapshotStore, manifest: Manifest, path: str) -> Any:
    """Open one file of a snapshot for writing."""
    return store._fs.open(store._path(0, manifest.id, path), "wb")


def test_what_went_there_comes_back(store: SnapshotStore, frozen: Path, tmp_path: Path) -> None:
    """A restored shard has the documents, the index and the position that were copied."""
    assert store.shards() == []
    manifest = upload(store, frozen, 1000)
    store.commit(manifest)
    assert store.shards() == [0]
    assert list(store.manifests(0)) == [manifest]
    store.verify(manifest)
    restore(store, manifest, tmp_path / "data", 0.0)
    assert held(shard_folder(tmp_path / "data", 0)) == held(frozen)
    assert not list((tmp_path / "data" / "restoring").iterdir())


def test_what_has_no_whole_manifest_is_no_snapshot(store: SnapshotStore, frozen: Path) -> None:
    """Neither a truncated upload nor a truncated manifest is listed or read."""
    store.commit(whole := upload(store, frozen, 1000))
    upload(store, frozen, 2000)
    torn = upload(store, frozen, 3000)
    with on_target(store, torn, MANIFEST) as file:
        file.write(torn.to_json()[:-20])
    assert list(store.manifests(0)) == [whole]
    with pytest.raises(SnapshotError):
        store.manifest(0, torn.id)


@pytest.mark.parametrize("damage", [b"", b"x", None])
def test_a_damaged_file_is_found(
    store: SnapshotStore, frozen: Path, tmp_path: Path, damage: bytes | None
) -> None:
    """A file that is cut short, changed or gone is refused, and the data folder stays empty."""
    store.commit(manifest := upload(store, frozen, 1000))
    path = manifest.files[0].path
    if damage is None:
        store._fs.rm_file(store._path(0, manifest.id, path))
    else:
        with on_target(store, manifest, path) as file:
            file.write(damage)
    with pytest.raises(SnapshotError, match=path.rpartition("/")[2]):
        store.verify(manifest)
    with pytest.raises(SnapshotError, match=path.rpartition("/")[2]):
        restore(store, manifest, tmp_path / "data", 0.0)
    assert not has_store(tmp_path / "data", 0)


KEY = SnapshotSettings(key=SecretStr("a key that is long enough"))


def test_with_a_key_what_others_wrote_is_refused(
    tmp_path: Path, frozen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that is not signed, or whose manifest was changed, restores nothing."""
    target = str(tmp_path / "target")
    strangers, ours = SnapshotStore(target, "prefix"), SnapshotStore(target, "prefix", KEY)
    ours.commit(good := upload(ours, frozen, 1000))
    strangers.commit(unsigned := upload(strangers, frozen, 2000))
    ours.commit(changed := upload(ours, frozen, 3000))
    place = Path(ours._path(0, changed.id, MANIFEST))
    place.write_bytes(place.read_bytes().replace(b'"position": "3-0"', b'"position": "9-0"'))
    for one in (unsigned, changed):
        with pytest.raises(SnapshotError, match="not signed"):
            ours.manifest(0, one.id)
    restored = restore_shard(ours, tmp_path / "data", 0, 1, "0-0")
    assert restored is not None
    assert restored.id == good.id
    ours.delete(0, good.id)
    with pytest.raises(SnapshotError, match="none can be used"):
        restore_shard(ours, tmp_path / "other", 0, 1, "0-0")
    assert restore_shard(strangers, tmp_path / "third", 0, 1, "0-0")


class Endless:
    """A file of the target's that never ends, and counts what is read of it."""

    def __init__(self, start: bytes = b"") -> None:
        self.num_read = 0
        self._start = start

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, size: int) -> bytes:
        """Read as much as is asked for."""
        assert size > 0
        self.num_read += size
        return (self._start + b"x" * size)[:size]


def test_no_more_is_fetched_than_the_manifest_says(
    store: SnapshotStore, frozen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without an end is read to one byte more than it should have, and that not written."""
    store.commit(manifest := upload(store, frozen, 1000))
    endless = Endless()
    monkeypatch.setattr(store, "_open", lambda _: endless)
    folder = tmp_path / "aside"
    folder.mkdir()
    with pytest.raises(SnapshotError, match="not what its manifest says"):
        store.fetch(manifest, folder)
    assert endless.num_read <= manifest.files[0].num_bytes + 1
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert written <= manifest.files[0].num_bytes


def test_a_manifest_without_an_end_is_not_read(
    store: SnapshotStore, frozen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size is bounded before it is parsed; one that would be too large is not written."""
    store.commit(manifest := upload(store, frozen, 1000))
    endless = Endless(manifest.to_json())
    with monkeypatch.context() as patched:
        patched.setattr(store, "_open", lambda _: endless)
        with pytest.raises(SnapshotError, match="more than 16777216 bytes"):
            store.manifest(0, manifest.id)
    assert endless.num_read == MAX_MANIFEST_BYTES + 1
    with pytest.raises(SnapshotError, match="too many collections"):
        store.commit(replace(manifest, version="x" * MAX_MANIFEST_BYTES))


def test_a_snapshot_that_does_not_fit_is_not_fetched(
    tmp_path: Path, frozen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore over snapshots.max_bytes, or larger than the free disk space, is not begun."""
    target = str(tmp_path / "target")
    store = SnapshotStore(target, "prefix", SnapshotSettings(max_bytes=1000))
    store.commit(manifest := upload(store, frozen, 1000))
    with pytest.raises(SnapshotError, match=r"snapshots\.max_bytes is 1000"):
        restore(store, manifest, tmp_path / "data", 0.0)
    exact = SnapshotStore(target, "prefix", SnapshotSettings(max_bytes=manifest.num_bytes))
    room = SimpleNamespace(free=manifest.num_bytes - 1)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: room)
        with pytest.raises(SnapshotError, match=f"has room for {room.free}"):
            restore(exact, manifest, tmp_path / "data", 0.0)
        assert not has_store(tmp_path / "data", 0)
        room.free += 1
        restore(exact, manifest, tmp_path / "data", 0.0)
    assert has_store(tmp_path / "data", 0)


def test_a_fifo_on_the_target_does_not_hang(tmp_path: Path, frozen: Path) -> None:
    """Anything but a regular file in a folder of snapshots counts as missing."""
    store = SnapshotStore(str(tmp_path / "target"), "prefix")
    store.commit(manifest := upload(store, frozen, 1000))
    for path in (STORE, MANIFEST):
        place = Path(store._path(0, manifest.id, path))
        place.unlink()
        os.mkfifo(place)
    with pytest.raises(SnapshotError, match="not a regular file"):
        store.verify(manifest)
    with pytest.raises(SnapshotError, match="not a regular file"):
        store.manifest(0, manifest.id)


def test_a_damaged_snapshot_is_passed_over_for_an_older_one(
    store: SnapshotStore, frozen: Path, tmp_path: Path
) -> None:
    """The newest one that is whole is restored; when none is, that is an error."""
    store.commit(older := upload(store, frozen, 1000))
    store.commit(newest := upload(store, frozen, 2000))
    with on_target(store, newest, STORE) as file:
        file.write(b"not a store")
    assert restore_shard(store, tmp_path / "data", 0, 1, "0-0") == older
    with on_target(store, older, STORE) as file:
        file.write(b"neither")
    with pytest.raises(SnapshotError, match="none can be used"):
        restore_shard(store, tmp_path / "other", 0, 1, "0-0")


def test_another_clusters_snapshots_are_refused(
    store: SnapshotStore, frozen: Path, tmp_path: Path
) -> None:
    """Documents are spread by the number of shards, so it must be the same."""
    store.commit(upload(store, frozen, 1000, num_shards=8))
    with pytest.raises(ConfigurationError, match="8 shards"):
        restore_shard(store, tmp_path / "data", 0, 4, "0-0")


def test_old_ones_go(store: SnapshotStore, frozen: Path) -> None:
    """After a new one the newest few are left, and nothing that was never ended."""
    made = [upload(store, frozen, at) for at in (1000, 2000, 3000, 4000)]
    for one in (made[0], made[1], made[3]):
        store.commit(one)
    store.prune(0, 2, made[3].id)
    assert store.present(0) == {made[1].id, made[3].id}
    assert list(store.manifests(0)) == [made[3], made[1]]


def test_half_a_deletion_is_no_snapshot(
    store: SnapshotStore, frozen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion that is cut off leaves no manifest, and the next one ends it."""
    store.commit(old := upload(store, frozen, 1000))
    store.commit(new := upload(store, frozen, 2000))
    with monkeypatch.context() as patched:
        patched.setattr(type(store._fs), "rm", lambda *_, **__: 1 / 0)
        with pytest.raises(SnapshotError):
            store.delete(0, old.id)
    assert list(store.manifests(0)) == [new]
    store.prune(0, 1, new.id)
    assert store.present(0) == {new.id}


def test_a_stopped_upload_ends(store: SnapshotStore, frozen: Path) -> None:
    """What the check raises between two pieces ends the upload."""

    def check() -> None:
        raise SnapshotError("stopped")

    with pytest.raises(SnapshotError, match=r"^stopped$"):
        store.upload(0, "20260131T120000000Z-0a1b2c", {STORE: frozen / STORE}, check)


def test_a_url_without_a_driver_is_told(tmp_path: Path) -> None:
    """An unknown protocol is an error of the setting's."""
    with pytest.raises(ConfigurationError, match=r"snapshots\.url: nowhere://"):
        SnapshotStore("nowhere://bucket", "prefix")


def test_an_old_index_that_cannot_be_removed_is_replaced(
    tmp_path: Path, frozen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that a reader makes in its folder meanwhile costs the restored copy nothing."""
    store, data = SnapshotStore(str(tmp_path / "target"), "prefix"), tmp_path / "data"
    store.commit(manifest := upload(store, frozen, 1000))
    old = indexer(shard_folder(data, 0))
    write(old, 0)
    old.close()

    def full(_path: object, **_options: object) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", full)
        restore(store, manifest, data, 0.0)
    assert held(shard_folder(data, 0)) == held(frozen)


class _KilledError(BaseException):
    """Stands for the end of the process: nothing catches it."""


STEPS = 12


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("had", ["nothing", "an old copy"])
def test_killed_at_any_step_a_restoring_leaves_nothing_half(
    tmp_path: Path, frozen: Path, older: Path, monkeypatch: pytest.MonkeyPatch, step: int, had: str
) -> None:
    """After each step a store is whole, or not there; and the next attempt makes it whole."""
    store, data = SnapshotStore(str(tmp_path / "target"), "prefix"), tmp_path / "data"
    store.commit(manifest := upload(store, frozen, 1000))
    folder = shard_folder(data, 0)
    if had == "an old copy":
        shutil.copytree(older, folder)
        whole = [held(folder), held(frozen)]
    else:
        whole = [held(frozen)]
    left = step

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise _KilledError
            return call(*args, **kwargs)

        return counted

    with monkeypatch.context() as patched:
        for name in ("unlink", "rename"):
            patched.setattr(Path, name, dying(getattr(Path, name)))
        patched.setattr(shutil, "rmtree", dying(shutil.rmtree))
        # Folders first: the worst order in which an old copy can be cleared away.
        entries = Path.iterdir
        patched.setattr(Path, "iterdir", lambda one: iter(sorted(entries(one), key=Path.is_file)))
        try:
            restore(store, manifest, data, 0.0)
            is_killed = False
        except _KilledError:
            is_killed = True
    if (folder / STORE).exists():
        assert held(folder) in whole
    restore(store, manifest, data, 0.0)
    assert held(folder) == held(frozen)
    assert not (is_killed and step == STEPS - 1)  # so the steps before went through to the end


def test_a_folder_in_use_is_left_alone(tmp_path: Path, frozen: Path) -> None:
    """While a worker has the shard's folder nothing is restored into it."""
    store = SnapshotStore(str(tmp_path / "target"), "prefix")
    store.commit(manifest := upload(store, frozen, 1000))
    lock = FolderLock(shard_folder(tmp_path / "data", 0), 0.0)
    try:
        with pytest.raises(ConfigurationError, match="another worker"):
            restore(store, manifest, tmp_path / "data", 0.0)
    finally:
        lock.release()
    assert not has_store(tmp_path / "data", 0)
    assert BOOKS.uid not in {one.name for one in shard_folder(tmp_path / "data", 0).iterdir()}
