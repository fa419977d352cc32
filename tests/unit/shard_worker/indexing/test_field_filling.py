"""Fields that are added to a collection are filled while it is written to and searched."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hedgerow.common.collection import Collection, define, with_added_fields
from hedgerow.common.errors import WorkError
from hedgerow.common.shard_log.operations import Create, Delete, Drop, Op, Upsert, pack_op
from hedgerow.shard_worker.indexing import field_filling
from hedgerow.shard_worker.indexing.shard_indexer import ShardIndexer
from hedgerow.shard_worker.indexing.shard_report import ShardState
from hedgerow.shard_worker.storage import index_files, index_replacement, text_index
from hedgerow.shard_worker.storage.index_replacement import filling_folder
from hedgerow.shard_worker.storage.text_index import TextIndex

MEMORY = 15_000_000
BOOKS = define("books", {"fields": {"title": "text"}}, "u0")
WIDER = with_added_fields(BOOKS, {"author": "text", "year": "integer"})
WIDEST = with_added_fields(WIDER, {"tag": "keyword"})

Model = dict[str, dict[str, Any]]


class Killed(BaseException):
    """Stands for a SIGKILL: nothing catches it, and nothing is done after it."""


class Shard:
    """A shard in a folder, whose log is written as it goes, and what its documents should be."""

    def __init__(self, folder: Path, collection: Collection = BOOKS) -> None:
        self.folder = folder
        self.model: Model = {}
        self._entry = 0
        self.reopen()
        self.apply(Create(collection.to_json()))

    def reopen(self) -> None:
        """Open it, as the next indexer does."""
        self.indexer = ShardIndexer(self.folder, 0, MEMORY, optimise_memory_bytes=MEMORY)

    def apply(self, *ops: Op) -> ShardState:
        """Apply operations as the next batch of the log."""
        self._entry += 1
        return self.indexer.apply(f"{self._entry}-0", [pack_op(op) for op in ops])

    def put(self, *numbers: int, year: Any = 1900) -> None:
        """Write documents, each with a title that no other has and none had, and more fields."""
        made = {
            f"d{n:03d}": {
                "title": f"title{self._entry}x{n}",
                "author": f"author{n % 3}",
                "year": year,
            }
            for n in numbers
        }
        self.model |= made
        self.apply(Upsert("u0", [(one, json.dumps(made[one]).encode()) for one in made]))

    def delete(self, *numbers: int) -> None:
        """Delete documents."""
        ids = [f"d{n:03d}" for n in numbers]
        for one in ids:
            self.model.pop(one, None)
        self.apply(Delete("u0", ids))

    def index(self) -> TextIndex:
        """The index as it is searched now."""
        return TextIndex.open(self.folder / "u0")

    def find(self, query: str) -> list[str]:
        """The ids that the index finds, sorted; one that is found twice is there twice."""
        return _find(self.index(), query)

    def fill(self) -> None:
        """Fill to the end."""
        while not self.indexer.fill("u0"):
            pass

    def check(self, *, has_author: bool | None = None) -> None:
        """The index has every document once, by its newest title.

        Args:
            has_author: whether it has the author, too; None for what its definition says.
        """
        index = self.index()
        if has_author is None:
            has_author = "author" in (index.collection.fields or {})
        assert _find(index, "*") == sorted(self.model)
        newest = [f"title:{document['title']}" for document in self.model.values()]
        assert not newest or _find(index, " OR ".join(newest)) == sorted(self.model)
        assert index.num_documents == len(self.model)
        if has_author:
            for author in {document["author"] for document in self.model.values()}:
                wanted = sorted(k for k, v in self.model.items() if v["author"] == author)
                assert _find(index, f"author:{author}") == wanted


def _find(index: TextIndex, query: str) -> list[str]:
    hits = index.searcher.search(index.parse_native(query), 1000).hits
    return sorted(index.ids([address for _, address in hits]))


@pytest.fixture
def shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shard]:
    """A shard that fills a few documents at a step."""
    monkeypatch.setattr(field_filling, "STEP_DOCUMENTS", 5)
    shard = Shard(tmp_path)
    yield shard
    shard.indexer.close()


def report(state: ShardState) -> tuple[list[str], int]:
    """The fields that the index lacks, and how many it has."""
    (one,) = state.collections
    return list(one.missing), one.indexed


def test_an_index_is_searched_as_it_was_until_its_fields_are_filled(shard: Shard) -> None:
    """A definition with more fields leaves the index in use, and its report says what it lacks."""
    shard.put(*range(12))
    before = shard.indexer.state().collections[0]
    assert report(shard.apply(Create(WIDER.to_json()))) == (["author", "year"], 1)
    shard.check(has_author=False)
    during = shard.indexer.state().collections[0]
    assert during.generation > before.generation  # searches have to learn of the definition
    assert shard.indexer.begin_filling("u0")
    assert not shard.indexer.fill("u0")
    shard.check(has_author=False)
    shard.fill()
    assert report(shard.indexer.state()) == ([], 3)
    shard.check(has_author=True)
    after = shard.indexer.state().collections[0]
    assert after.generation > during.generation
    assert after.changes == during.changes + 12  # so that term statistics are collected
    assert not shard.indexer.begin_filling("u0")


steps = st.one_of(
    st.just("fill"),
    st.tuples(st.just("put"), st.lists(st.integers(0, 30), min_size=1, max_size=5, unique=True)),
    st.tuples(st.just("delete"), st.lists(st.integers(0, 30), min_size=1, max_size=5, unique=True)),
    st.just("reopen"),
    st.just("widen"),
)


@settings(deadline=None, max_examples=25)
@example(["fill", ("put", [0, 2]), ("delete", [4]), *["fill"] * 5])  # written once it was read
@given(st.lists(steps, max_size=20))
def test_writes_amid_the_filling_are_in_both_indexes(script: list[Any]) -> None:
    """Whatever is written, reopened or added meanwhile, the index is that of the newest documents.

    A document is replaced under another title each time that it is written.
    """
    with (
        # A merge of a writer that was abandoned may write a last file while the folder is removed.
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        patch.object(field_filling, "STEP_DOCUMENTS", 4),
    ):
        shard = Shard(Path(folder))
        shard.put(*range(0, 30, 2))
        shard.apply(Create(WIDER.to_json()))
        shard.indexer.begin_filling("u0")
        for step in script:
            match step:
                case "fill":
                    try:
                        shard.indexer.fill("u0")
                    except WorkError:
                        shard.indexer.begin_filling("u0")
                case "reopen":
                    shard.indexer.close()
                    shard.reopen()
                case "widen":
                    shard.apply(Create(WIDEST.to_json()))
                case ("put", numbers):
                    shard.put(*numbers, year=len(shard.model))
                case ("delete", numbers):
                    shard.delete(*numbers)
            shard.check()
        if shard.indexer.begin_filling("u0"):
            shard.fill()
        shard.check(has_author=True)
        assert report(shard.indexer.state())[0] == []
        years = {document["year"] for document in shard.model.values()}
        for year in years:
            wanted = sorted(k for k, v in shard.model.items() if v["year"] == year)
            assert shard.find(f"year:{year}") == wanted
        assert {path.name for path in shard.folder.iterdir() if path.is_dir()} == {"u0"}
        shard.indexer.close()


def test_a_value_that_does_not_fit_an_added_field_is_left_out(shard: Shard) -> None:
    """It was stored before the field had a type; the document is found by its other fields."""
    shard.put(1, 2)
    shard.put(3, year="unknown")
    shard.apply(Create(WIDER.to_json()))
    shard.indexer.begin_filling("u0")
    shard.fill()
    assert shard.find("year:1900") == ["d001", "d002"]
    shard.check(has_author=True)


def test_more_fields_amid_the_filling_begin_it_again(shard: Shard) -> None:
    """The step says so, and the next attempt fills all of them."""
    shard.put(*range(20))
    shard.apply(Create(WIDER.to_json()))
    shard.indexer.begin_filling("u0")
    shard.indexer.fill("u0")
    assert report(shard.apply(Create(WIDEST.to_json()))) == (["author", "year", "tag"], 1)
    with pytest.raises(WorkError, match="added meanwhile"):
        shard.indexer.fill("u0")
    assert shard.indexer.begin_filling("u0")
    shard.fill()
    assert report(shard.indexer.state()) == ([], 4)
    shard.check(has_author=True)


def test_a_drop_amid_the_filling_leaves_nothing(shard: Shard) -> None:
    """Neither the index nor the one that was being made is left."""
    shard.put(*range(20))
    shard.apply(Create(WIDER.to_json()))
    shard.indexer.begin_filling("u0")
    shard.indexer.fill("u0")
    shard.apply(Drop("u0"))
    with pytest.raises(WorkError):
        shard.indexer.fill("u0")
    assert [path for path in shard.folder.iterdir() if path.is_dir()] == []


def test_an_index_that_lacks_fields_is_not_optimised(shard: Shard) -> None:
    """It is about to be replaced by one in few segments."""
    shard.put(1)
    shard.apply(Create(WIDER.to_json()))
    with pytest.raises(WorkError, match="being filled"):
        shard.indexer.begin_optimising("u0")
    shard.indexer.begin_filling("u0")
    shard.fill()
    assert shard.indexer.begin_optimising("u0")


def test_an_older_definition_takes_no_field_away(shard: Shard) -> None:
    """A log may begin with one that the shard has already replaced by what the cluster has."""
    shard.put(1)
    shard.indexer.define([WIDER.to_json()])
    shard.indexer.begin_filling("u0")
    shard.fill()
    assert report(shard.apply(Create(BOOKS.to_json()))) == ([], 3)
    shard.check(has_author=True)
    assert report(shard.indexer.define([BOOKS.to_json()])) == ([], 3)


@pytest.mark.parametrize("point", [1, 2])
def test_a_kill_amid_the_replacement_loses_nothing(tmp_path: Path, point: int) -> None:
    """Before or after the old index has gone, the next indexer ends with the new one."""
    shard = Shard(tmp_path)
    shard.put(*range(7))
    shard.apply(Create(WIDER.to_json()))
    shard.indexer.begin_filling("u0")
    rename, calls = Path.rename, 0

    def killed_at(path: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == point:
            raise Killed
        return rename(path, target)

    with patch.object(Path, "rename", killed_at), pytest.raises(Killed):
        shard.indexer.fill("u0")
    shard.indexer._fillings._running.clear()  # of which the kill has left nothing
    shard.indexer.close()
    shard.reopen()
    shard.check(has_author=point == 2)
    if shard.indexer.begin_filling("u0"):
        shard.fill()
    shard.check(has_author=True)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["u0"]
    shard.indexer.close()


def test_a_replacement_that_is_refused_leaves_the_old_index(shard: Shard) -> None:
    """The step fails, and the next attempt begins from the start."""
    shard.put(*range(4))
    shard.apply(Create(WIDER.to_json()))
    shard.indexer.begin_filling("u0")
    rename, calls = Path.rename, 0

    def refused_once(path: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError("no")
        return rename(path, target)

    with patch.object(Path, "rename", refused_once), pytest.raises(OSError, match="no"):
        shard.indexer.fill("u0")
    shard.check(has_author=False)
    shard.put(9)
    assert shard.indexer.begin_filling("u0")
    shard.fill()
    shard.check(has_author=True)


def test_an_index_that_is_replaced_while_it_is_opened_is_opened_again(shard: Shard) -> None:
    """The definition is read, and then tantivy finds no folder."""
    shard.put(1)
    folder = shard.folder / "u0"
    beside = index_replacement._replaced_folder(folder)
    opened, calls = index_files.open_index, 0

    def gone_at_first(path: Path, collection: Collection) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            return opened(path, collection)
        folder.rename(beside)
        try:
            return opened(path, collection)
        finally:
            beside.rename(folder)

    with patch.object(text_index, "open_index", gone_at_first):
        assert TextIndex.open(folder).num_documents == 1
    assert calls > 1


def test_a_reader_waits_while_an_index_is_replaced(shard: Shard) -> None:
    """In the moment without an index under its name, opening it takes longer, and does not fail."""
    shard.put(1)
    folder = shard.folder / "u0"
    shard.apply(Create(WIDER.to_json()))
    folder.rename(index_replacement._replaced_folder(folder))
    made = TextIndex

    def replaced(_pause_s: float) -> None:
        index_replacement._replaced_folder(folder).rename(folder)

    with patch("time.sleep", replaced):
        assert made.open(folder).num_documents == 1
    assert not filling_folder(folder).exists()
