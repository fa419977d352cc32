"""What a scorer has open, and when it closes it."""

import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hedgerow.common.collection import define
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES
from hedgerow.common.wire.messages import SearchPayload, pack_body
from hedgerow.shard_worker.scoring import open_shards, scorer
from hedgerow.shard_worker.scoring.open_shards import IDLE_S, OpenShards
from hedgerow.shard_worker.scoring.opening import OPENING
from hedgerow.shard_worker.scoring.scorer import ScorerConfig, make_scorer
from hedgerow.shard_worker.scoring.unused_files import UnusedFiles
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from hedgerow.shard_worker.vectors import library
from tests.support.waiting import block_until
from tests.unit.support.shards import EndlessBudget

FIELDS = {"fields": {"title": "text"}}


def make_index(data: Path, uid: str) -> Path:
    """A collection's index in shard 0, with one document."""
    folder = data / "shards" / "0" / uid
    writer = TextIndexWriter.open(folder, define("c", FIELDS, uid=uid))
    writer.apply((), [("a", {"id": "a", "title": "wing"})])
    writer.commit()
    writer.close()
    return folder


def is_mapped(folder: Path) -> bool:
    """Whether this process has a file of a folder mapped, deleted ones included."""
    return str(folder) in Path("/proc/self/maps").read_text()


def until_mapped(*folders: Path, among: Sequence[Path]) -> None:
    """Wait until of these folders exactly those are mapped that are named first.

    tantivy watches an index from a thread when it opens it, which can hold the maps for some
    milliseconds after the index was closed.
    """
    expected = [one in folders for one in among]
    block_until(lambda: [is_mapped(one) for one in among] == expected, what="files are unmapped")


@pytest.fixture
def shards(tmp_path: Path) -> OpenShards:
    """Shard 0 of a data folder."""
    return OpenShards(tmp_path)


def test_an_index_that_was_dropped_is_closed(shards: OpenShards, tmp_path: Path) -> None:
    """Its files are unmapped at the next look, so that the disk has their space again."""
    kept, dropped = make_index(tmp_path, "kept"), make_index(tmp_path, "dropped")
    for uid in ("kept", "dropped"):
        assert shards.snapshot(0, uid, 1, now=0.0) is not None
    shutil.rmtree(dropped)
    assert is_mapped(dropped)
    shards.take_unused(now=1.0).close()
    until_mapped(kept, among=[kept, dropped])
    assert shards.snapshot(0, "dropped", 0, now=1.0) is None


def test_an_index_that_is_not_searched_is_closed(shards: OpenShards, tmp_path: Path) -> None:
    """It is closed some time after its last search, and opened again by the next one."""
    folder = make_index(tmp_path, "u")
    shards.snapshot(0, "u", 1, now=0.0)
    shards.snapshot(0, "u", 1, now=10.0)
    shards.take_unused(now=10.0 + IDLE_S).close()
    assert is_mapped(folder)
    shards.take_unused(now=11.0 + IDLE_S).close()
    until_mapped(among=[folder])
    snapshot = shards.snapshot(0, "u", 1, now=100.0)
    assert snapshot is not None
    assert snapshot.index.num_documents == 1


def test_open_indexes_are_bounded(
    shards: OpenShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many collections are searched, those searched last are open and no others."""
    monkeypatch.setattr(open_shards, "MAX_OPEN_SEGMENTS", 6)
    bounded = OpenShards(tmp_path)
    folders = [make_index(tmp_path, f"u{number}") for number in range(8)]
    for number in range(8):
        bounded.snapshot(0, f"u{number}", 1, now=float(number))
    until_mapped(*folders[5:], among=folders)
    bounded.close()
    shards.close()


def test_everything_of_a_dropped_collection_is_closed(shards: OpenShards, tmp_path: Path) -> None:
    """Nothing is kept by the name of a collection that is gone, whatever was asked of it."""
    folder = make_index(tmp_path, "u")
    snapshot = shards.snapshot(0, "u", 1, now=0.0)
    assert snapshot is not None
    shards.query_analysis(snapshot.index.collection, now=0.0)
    shards.noop_body(0, "u", 1, 10, now=0.0)
    shutil.rmtree(folder)
    shards.take_unused(now=1.0).close()
    shards.take_unused(now=1.0 + 2 * IDLE_S).close()
    kept = (shards._snapshots, shards._statistics, shards._analyses, shards._first)
    assert [len(one) for one in kept] == [0, 0, 0, 0]


def test_a_shard_that_came_back_is_searched_in_its_new_files(
    shards: OpenShards, tmp_path: Path
) -> None:
    """Though the index from before was of a later generation, and is still open."""
    folder = make_index(tmp_path, "u")
    writer = TextIndexWriter.open(folder, define("c", FIELDS, uid="u"))
    writer.apply((), [("b", {"id": "b", "title": "wing"})])
    writer.commit()
    writer.close()
    generation = TextIndex.open(folder).generation
    before = shards.snapshot(0, "u", shards.current(0, generation), now=0.0)
    assert before is not None
    assert before.index.num_documents == 2
    shutil.rmtree(folder.parent)
    make_index(tmp_path, "u")
    after = shards.snapshot(0, "u", shards.current(0, OPENING + 1), now=1.0)
    assert after is not None
    assert after.index.num_documents == 1
    again = shards.snapshot(0, "u", shards.current(0, OPENING + 1), now=2.0)
    assert again is after


def test_a_shard_that_was_let_go_of_is_closed(shards: OpenShards, tmp_path: Path) -> None:
    """Its files are unmapped at the next look; those of another shard stay open."""
    folder, other = make_index(tmp_path, "u"), tmp_path / "shards" / "1" / "u"
    shutil.copytree(folder, other)
    for shard in (0, 1):
        assert shards.snapshot(shard, "u", 1, now=0.0) is not None
    shutil.rmtree(folder.parent)
    shards.take_unused(now=1.0).close()
    until_mapped(other, among=[folder, other])


def test_searches_do_not_wait_until_files_are_closed(
    shards: OpenShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scorer answers while it closes the files of a shard that the worker has let go of."""
    folder, other = make_index(tmp_path, "u"), tmp_path / "shards" / "1" / "u"
    shutil.copytree(folder, other)
    closing, may_end = threading.Event(), threading.Event()

    def close(self: UnusedFiles) -> None:
        if self.snapshots:
            closing.set()
            assert may_end.wait(10)

    monkeypatch.setattr(scorer, "KEEP_READY_S", 0.01)
    monkeypatch.setattr(UnusedFiles, "close", close)
    score = make_scorer(ScorerConfig(str(tmp_path), dict(BUILT_IN_PROFILES)))
    search = pack_body(SearchPayload("u", "wing", 10, "bm25", "", strict=False))
    score((0, 1, search), EndlessBudget())
    shutil.rmtree(folder.parent)
    assert closing.wait(10)
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(score, (1, 1, search), EndlessBudget()).result(5)
    finally:
        may_end.set()
        score.close()


def test_libraries_for_vectors_are_loaded_beside_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scorer loads them once a shard has a vector field, before a search by a vector comes."""
    folder, loaded = tmp_path / "shards" / "0", threading.Event()
    folder.mkdir(parents=True)
    monkeypatch.setattr(scorer, "KEEP_READY_S", 0.01)
    monkeypatch.setattr(library, "load", loaded.set)
    score = make_scorer(ScorerConfig(str(tmp_path), dict(BUILT_IN_PROFILES)))
    try:
        assert not loaded.is_set()
        library.note(folder)
        assert loaded.wait(10)
    finally:
        score.close()


def test_a_scorer_that_starts_later_has_them_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loads them before its first search, so that a search after a kill is no slower."""
    folder, loaded = tmp_path / "shards" / "0", threading.Event()
    folder.mkdir(parents=True)
    library.note(folder)
    monkeypatch.setattr(library, "load", loaded.set)
    score = make_scorer(ScorerConfig(str(tmp_path), dict(BUILT_IN_PROFILES)))
    assert loaded.is_set()
    score.close()
