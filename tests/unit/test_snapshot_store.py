"""Snapshots on their target, and back from there into a data folder."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from common.errors import ConfigurationError, SnapshotError
from common.folder_lock import FolderLock
from common.snapshot import MANIFEST, STORE, Manifest
from common.snapshot_restore import has_store, restore, shard_folder
from common.snapshot_store import SnapshotStore
from shard_worker.recovery import restore_shard
from tests.unit.snapshots import BOOKS, held, indexer, upload, wait, write


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SnapshotStore]:
    """An empty target: a folder, and a store that is none."""
    if request.param == "folder":
        yield SnapshotStore(str(tmp_path / "target"), "prefix")
        return
    yield SnapshotStore(f"memory://{tmp_path.name}", "prefix")
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    """A shard's copy, ready to be uploaded."""
    shard = indexer(tmp_path / "origin")
    write(shard, 1)
    wait(shard.freeze(tmp_path / "frozen"))
    shard.close()
    return tmp_path / "frozen"


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
    """Neither an upload that was cut off nor a manifest that was is listed or read."""
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


class _KilledError(BaseException):
    """Stands for the end of the process: nobody catches it."""


STEPS = 12


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("had", ["nothing", "an old copy"])
def test_killed_at_any_step_a_restoring_leaves_nothing_half(
    tmp_path: Path, frozen: Path, monkeypatch: pytest.MonkeyPatch, step: int, had: str
) -> None:
    """After each step a store is whole, or not there; and the next attempt makes it whole."""
    store, data = SnapshotStore(str(tmp_path / "target"), "prefix"), tmp_path / "data"
    store.commit(manifest := upload(store, frozen, 1000))
    folder = shard_folder(data, 0)
    if had == "an old copy":
        old = indexer(folder)
        write(old, 0)
        old.close()
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
