"""Who may read what is stored: modes on a real disk."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.machine.folder_lock import FolderLock
from hedgerow.common.machine.private_folder import (
    PARTS,
    make_folders,
    make_private,
    write_privately,
)
from hedgerow.gateway.local.locks import lock_folder
from hedgerow.gateway.local.processes.child_log import ChildLog
from hedgerow.shard_worker.storage.store import Store
from tests.unit.support.snapshots import indexer, write


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The usual umask, whatever the tests are started with, and whatever they set."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    """A file's mode, without its kind."""
    return stat.S_IMODE(path.lstat().st_mode)


def open_to_others(folder: Path) -> list[Path]:
    """The paths in a folder, itself included, that other users may use in any way."""
    found = [folder, *folder.rglob("*")]
    return [path for path in found if not path.is_symlink() and mode(path) & 0o077]


def older(data: Path) -> Path:
    """A data folder as earlier versions made it."""
    for name in ("shards/0/uid", "logs", "workers/worker-0/shards/1"):
        (data / name).mkdir(parents=True)
    for name in ("shards/0/store.sqlite", "shards/0/uid/x.term", "logs/gateway.log", "lock"):
        (data / name).write_text("x")
    (data / "logs" / "program").touch(0o755)
    assert len(open_to_others(data)) == 14
    return data


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    """It is made for this user alone; the folders above it are made as the umask says."""
    with capture_logs() as logs:
        make_private(tmp_path / "var" / "data")
    assert mode(tmp_path / "var" / "data") == 0o700
    assert mode(tmp_path / "var") == 0o755
    make_folders(tmp_path / "var" / "data" / "workers" / "worker-0" / "shards")
    assert not open_to_others(tmp_path / "var" / "data")
    assert not logs


def test_a_folder_without_data_is_tightened_without_a_word(tmp_path: Path) -> None:
    """A user has made it just before the first start: other users could read nothing in it."""
    (tmp_path / "data").mkdir(0o755)
    (tmp_path / "data" / "lock").touch(0o644)
    with capture_logs() as logs:
        make_private(tmp_path / "data")
    assert not open_to_others(tmp_path / "data")
    assert not logs


def test_an_older_folder_is_tightened_once(tmp_path: Path) -> None:
    """All that is in it becomes this user's alone, with one line in the log, and then none."""
    data = older(tmp_path / "data")
    with capture_logs() as logs:
        make_private(data)
        make_private(data)
    assert not open_to_others(data)
    assert mode(data / "logs" / "program") == 0o700
    (one,) = logs
    assert (one["event"], one["files"]) == ("data_folder_tightened", 14)


def test_a_folder_that_serves_for_more_keeps_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current folder, the home folder and a /tmp are left alone, but for our parts in them."""
    for name in ("here", "home", "tmp"):
        older(tmp_path / name)
        (tmp_path / name / "program.py").touch(0o755)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "tmp").chmod(0o1777)
    for name, expected in (("here", 0o755), ("home", 0o755), ("tmp", 0o1777)):
        data = tmp_path / name
        make_private(data)
        assert mode(data) == expected
        assert open_to_others(data) == [data, data / "program.py"]


def test_links_and_what_is_not_ours_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a link leads to keeps its mode; a folder of another user is used as it is."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    data = tmp_path / "data"
    data.mkdir()
    (data / "shards").symlink_to(elsewhere)
    (data / "logs").mkdir()
    (data / "logs" / "link").symlink_to(elsewhere / "file")
    make_private(data)
    assert (mode(elsewhere), mode(elsewhere / "file")) == (0o755, 0o644)
    assert mode(data) == 0o700
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    make_private(elsewhere)
    assert mode(elsewhere) == 0o755


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    """A file in the folder's place is an error of the setting."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"data: .*file"):
        make_private(tmp_path / "file")


def test_what_a_worker_writes_is_private(tmp_path: Path) -> None:
    """Store, write-ahead log, index and locks get their modes from the worker's umask."""
    write_privately()
    shard = indexer(tmp_path / "data" / "shards" / "0")
    write(shard, 1)
    lock = FolderLock(tmp_path / "data" / "shards" / "1", 0.0)
    lock.release()
    reader = Store.open(tmp_path / "data" / "shards" / "0" / "store.sqlite", read_only=True)
    try:
        names = {path.name for path in (tmp_path / "data").rglob("*")}
        assert {"store.sqlite", "store.sqlite-wal", "lock", "meta.json"} <= names
        assert not open_to_others(tmp_path / "data")
    finally:
        reader.close()
        shard.close()


def test_what_a_supervisor_writes_is_private(tmp_path: Path) -> None:
    """Its lock and its children's logs are, whatever the umask: it is not its own to set."""
    data = tmp_path / "data"
    make_private(data)
    os.close(lock_folder(data))
    make_folders(data / "logs")
    log = ChildLog(data / "logs" / "worker-0.log")
    descriptor = log.open()
    os.truncate(descriptor, 11_000_000)
    os.close(descriptor)
    log.trim()
    assert (data / "logs" / "worker-0.log.1").stat().st_size == 11_000_000
    assert not open_to_others(data)


def test_every_part_of_a_data_folder_is_known() -> None:
    """The folders and files that docs/embedded.md names are those that are tightened."""
    text = (Path(__file__).parents[4] / "docs" / "embedded.md").read_text(encoding="utf-8")
    assert all(f"`{part}/" in text or f"`{part}`" in text for part in PARTS)


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    """The error names the path and says so."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"^data: .*/file: is not a folder$"):
        make_private(tmp_path / "file")
