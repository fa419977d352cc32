"""An index is read from a disk that takes no writes."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tantivy

from hedgerow.common.collection import define
from hedgerow.shard_worker.storage.index_files import TextIndexError
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

COLLECTION = define("c", {"fields": {"title": "text"}}, uid="u1")
READ_ONLY = 'Failed to acquire Lockfile: IoError(Os { code: 30, message: "Read-only file system" })'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index of two documents in two segments."""
    path = tmp_path / "index"
    writer = TextIndexWriter.open(path, COLLECTION)
    writer.rebuild([])
    for number, title in enumerate(("one word", "another word")):
        writer.apply([], [(str(number), {"title": title})])
        writer.commit()
    writer.close()
    return path


@pytest.fixture
def refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the disk of that index refuse what tantivy must write; the folders that it opened."""
    opened: list[str] = []
    really: Callable[..., Any] = tantivy.Index.open

    def open_index(path: str) -> Any:
        if Path(path) == folder:
            raise ValueError(READ_ONLY)
        opened.append(path)
        return really(path)

    monkeypatch.setattr(tantivy, "Index", type("Index", (), {"open": staticmethod(open_index)}))
    return opened


def test_an_index_on_a_read_only_disk_is_searched(folder: Path, refused: list[str]) -> None:
    """It is opened through a temporary folder, of which nothing is left, and finds everything."""
    before = sorted(path.name for path in folder.iterdir())
    index = TextIndex.open(folder)
    (beside,) = refused
    assert Path(beside).parent == Path(tempfile.gettempdir())
    assert not Path(beside).exists()
    hits = index.searcher.search(index.parse_native("title:word"), 10).hits
    assert set(index.ids([address for _, address in hits])) == {"0", "1"}
    assert index.generation == TextIndex.open(folder).generation
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_lock_file_that_is_made_meanwhile_is_removed_too(
    folder: Path, refused: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that watches the index may make one after the files were removed."""
    really = os.rmdir
    late = ["a.lock", "b.lock"]

    def remove_folder(path: Any, **options: Any) -> None:
        if late:
            Path(refused[-1], late.pop()).touch()
        really(path, **options)

    monkeypatch.setattr(os, "rmdir", remove_folder)
    TextIndex.open(folder)
    assert late == []
    (beside,) = refused
    assert not Path(beside).exists()


@pytest.mark.usefixtures("refused")
def test_an_index_on_a_read_only_disk_is_not_written_beside_it(folder: Path) -> None:
    """A writer fails, and leaves the index as it is."""
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(OSError, match="Read-only file system"):
        TextIndexWriter.open(folder, COLLECTION)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.usefixtures("refused")
def test_a_damaged_index_is_damaged_on_a_read_only_disk_too(folder: Path) -> None:
    """What cannot be read through the links either is no index."""
    (folder / "meta.json").write_text("nonsense")
    with pytest.raises(TextIndexError):
        TextIndex.open(folder)
