"""Optimising an index: fewer segments, the same answers, and no write waits for it or is lost."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.collection import define
from hedgerow.common.errors import WorkError
from hedgerow.common.shard_log.operations import Create, Delete, Drop, Op, Upsert, pack_op
from hedgerow.shard_worker.indexing import index_rewrite
from hedgerow.shard_worker.indexing.background_thread import Priority
from hedgerow.shard_worker.indexing.commands import Command, pack_command
from hedgerow.shard_worker.indexing.index_rewrite import IndexRewrite
from hedgerow.shard_worker.indexing.indexer import Indexer, IndexerConfig, make_indexer
from hedgerow.shard_worker.indexing.shard_indexer import ShardIndexer
from hedgerow.shard_worker.indexing.shard_report import ShardState
from hedgerow.shard_worker.storage import text_index_writer
from hedgerow.shard_worker.storage.document_maker import make_document
from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.term_statistics import collect, pack
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter
from tests.unit.support.shards import OneShard

MEMORY = 15_000_000
BOOKS = define("books", {"fields": {"title": "text"}}, "u0")
PAPERS = define("papers", {"fields": {"title": "text"}}, "u1")
BUDGET: Any = None  # the indexer's works have none


def documents(numbers: range) -> list[tuple[str, bytes]]:
    """Documents as an upsert has them; some words are in many, each number in one."""
    return [
        (f"d{n}", json.dumps({"title": f"number{n} " + "common " * (n % 7)}).encode())
        for n in numbers
    ]


class Shard:
    """A shard in a folder, whose log is written as it goes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.indexer = ShardIndexer(folder, 0, MEMORY)
        self._entry = 0

    def apply(self, *ops: Op) -> ShardState:
        """Apply operations as the next batch of the log."""
        self._entry += 1
        return self.indexer.apply(f"{self._entry}-0", [pack_op(op) for op in ops])

    def fill(self, batches: int, size: int = 10) -> None:
        """Make the collection `u0`, of this many batches and so of segments."""
        self.apply(Create(BOOKS.to_json()))
        for batch in range(batches):
            self.apply(Upsert("u0", documents(range(batch * size, (batch + 1) * size))))

    def optimise(self, uid: str = "u0") -> int:
        """Optimise from beginning to end; returns the number of steps."""
        assert self.indexer.begin_optimising(uid)
        steps = 1
        while not self.indexer.optimise(uid):
            steps += 1
        return steps

    def found(self, uid: str = "u0") -> set[str]:
        """The ids of all that the index finds, each of which must be there once."""
        index = TextIndex.open(self.folder / uid)
        hits = index.searcher.search(index.parse_native("*"), 10_000).hits
        ids = index.ids([address for _, address in hits])
        assert len(ids) == len(set(ids))
        return set(ids)

    def segments(self, uid: str = "u0") -> int:
        """Segments of the index, as the shard reports them."""
        reports = {report.uid: report for report in self.indexer.state().collections}
        index = TextIndex.open(self.folder / uid)
        assert reports[uid].segments == index.num_segments
        assert reports[uid].generation == index.generation
        return index.num_segments


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[Shard]:
    """An empty shard."""
    shard = Shard(tmp_path)
    yield shard
    shard.indexer.close()


def test_an_optimised_index_has_one_segment_and_finds_the_same(shard: Shard) -> None:
    """What replaced and deleted documents have left is gone; readers reopen the index."""
    shard.fill(batches=6)
    shard.apply(Upsert("u0", documents(range(5))), Delete("u0", ["d7", "d8"]))
    before, generation = shard.found(), TextIndex.open(shard.folder / "u0").generation
    assert shard.segments() > 1
    shard.optimise()
    index = TextIndex.open(shard.folder / "u0")
    assert shard.segments() == 1
    assert shard.found() == before
    assert index.generation > generation
    assert index.max_doc == index.num_documents == 58  # 7 deleted ones counted before
    assert index.document_frequency("title", "number7") == 0


def test_scores_are_those_of_an_index_that_was_never_written_to_again(tmp_path: Path) -> None:
    """Every query's hits and scores are what the same documents get from an index made of them."""
    rows = [{"id": f"d{n}", "title": f"number{n} " + "common " * (n % 7)} for n in range(80)]
    changed = OneShard.of(tmp_path / "changed", {"title": "text"}, [])
    for start in range(0, 80, 20):
        changed.put(
            {**row, "title": "old common"} if number % 2 else row
            for number, row in enumerate(rows[start : start + 20])
        )
    changed.put(rows[1::2])
    changed.put([{"id": "gone", "title": "common"}])
    changed.put([], ["gone"])
    made = OneShard.of(tmp_path / "made", {"title": "text"}, rows)
    store = Store.open(changed.folder / "store.sqlite", read_only=True)
    rewrite = IndexRewrite(changed.folder / "u1", changed.collection, store.scan("u1"), MEMORY)
    assert changed.search("common") != made.search("common")
    while not rewrite.step():
        pass
    store.close()
    for query in ("common", "number7 common", "number3 number4", "old", "gone"):
        assert changed.search(query) == made.search(query), query


def test_the_old_index_is_searched_until_the_new_one_is_whole(shard: Shard) -> None:
    """Whatever step it is at, and with segments of the new one on disk, readers see the old."""
    with patch.object(index_rewrite, "STEP_DOCUMENTS", 7):
        shard.fill(batches=4)
        before = shard.found()
        assert shard.indexer.begin_optimising("u0")
        seen = []
        while not shard.indexer.optimise("u0"):
            seen.append((shard.found(), TextIndex.open(shard.folder / "u0").num_segments))
        assert seen == [(before, 4)] * 6  # 40 documents, in sevens
        assert (shard.found(), shard.segments()) == (before, 1)


def test_a_snapshot_that_is_made_amid_has_the_old_index(
    shard: Shard, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whole, and of the same documents as the store: segments that are begun are not its own."""
    with patch.object(index_rewrite, "STEP_DOCUMENTS", 7):
        shard.fill(batches=4)
        shard.indexer.begin_optimising("u0")
        shard.indexer.optimise("u0")
        frozen = tmp_path_factory.mktemp("frozen")
        copy = shard.indexer.freeze(frozen)
        while not shard.indexer.optimise("u0"):
            pass
        index = TextIndex.open(frozen / "u0")
        assert (index.num_documents, index.num_segments) == (40, 4)
        copy.stop()


def test_what_does_not_fit_into_memory_becomes_more_segments(tmp_path: Path) -> None:
    """When there are eight segments of a size, tantivy's own merge joins them."""
    many = [
        (f"d{n}", json.dumps({"title": " ".join(f"w{n}x{i}" for i in range(40))}).encode())
        for n in range(6_500)
    ]
    folder = tmp_path / "u0"
    TextIndexWriter.open(folder, BOOKS, MEMORY).close()
    rewrite = IndexRewrite(folder, BOOKS, iter(many), MEMORY)
    while not rewrite.step():
        pass
    index = TextIndex.open(folder)
    assert 1 < index.num_segments <= 8  # of 10: some 640 documents fit into each
    assert index.num_documents == len(many)


@pytest.mark.parametrize("change", ["upsert", "delete"])
def test_a_write_puts_an_end_to_it_and_is_found_at_once(shard: Shard, change: str) -> None:
    """The index is then as it was, with the write; another attempt finds all."""
    shard.fill(batches=3)
    expected = shard.found()
    shard.indexer.begin_optimising("u0")
    shard.indexer.optimise("u0")
    if change == "upsert":
        shard.apply(Upsert("u0", documents(range(100, 101))))
        expected |= {"d100"}
    else:
        shard.apply(Delete("u0", ["d3"]))
        expected -= {"d3"}
    assert shard.found() == expected
    with pytest.raises(WorkError, match="written to meanwhile"):
        shard.indexer.optimise("u0")
    shard.optimise()
    assert (shard.found(), shard.segments()) == (expected, 1)


def test_writes_to_other_collections_do_not_disturb_it(shard: Shard) -> None:
    """They are applied between two steps."""
    shard.fill(batches=3)
    shard.indexer.begin_optimising("u0")
    assert not shard.indexer.optimise("u0")
    shard.apply(Create(PAPERS.to_json()), Upsert("u1", documents(range(3))))
    assert shard.found("u1") == {"d0", "d1", "d2"}
    assert shard.indexer.optimise("u0")
    assert shard.segments() == 1


def test_a_collection_dropped_meanwhile_leaves_nothing(shard: Shard) -> None:
    """No folder and no writer is left; the next step says that it has ended."""
    shard.fill(batches=2)
    shard.indexer.begin_optimising("u0")
    shard.indexer.optimise("u0")
    shard.apply(Drop("u0"))
    assert not (shard.folder / "u0").exists()
    with pytest.raises(WorkError):
        shard.indexer.optimise("u0")
    assert not shard.indexer.begin_optimising("u0")


def test_a_step_that_fails_leaves_the_index_as_it_was(shard: Shard) -> None:
    """A full disk, say: what was found is found, writes go on, and so does another attempt."""
    shard.fill(batches=3)
    shard.indexer.begin_optimising("u0")
    with (
        patch.object(TextIndexWriter, "add", side_effect=ValueError("disk full")),
        pytest.raises(ValueError, match="disk full"),
    ):
        shard.indexer.optimise("u0")
    with pytest.raises(WorkError):
        shard.indexer.optimise("u0")
    shard.apply(Upsert("u0", documents(range(100, 101))))
    assert len(shard.found()) == 31
    shard.optimise()
    assert shard.segments() == 1


def test_an_empty_or_undefined_collection_has_nothing_to_optimise(shard: Shard) -> None:
    """That is no error: a shard may well hold none of a small collection."""
    shard.apply(Create(BOOKS.to_json()))
    assert not shard.indexer.begin_optimising("u0")
    shard.apply(Create(define("bare", {}, "u9").to_json()))
    assert not shard.indexer.begin_optimising("u9")
    assert not shard.indexer.begin_optimising("never heard of")


def refusing_soon(plan: Any, document_id: str, fields: Any, *rest: Any) -> Any:
    """Stands for `make_document`; a document whose year is "soon" cannot be indexed."""
    if fields["year"] == "soon":
        raise TypeError("no year")
    return make_document(plan, document_id, fields, *rest)


def test_a_document_that_cannot_be_indexed_keeps_no_other_out(shard: Shard) -> None:
    """The others are indexed, as they were when the document was applied."""
    shard.apply(Create(define("dated", {"fields": {"year": "integer"}}, "u0").to_json()))
    with patch.object(text_index_writer, "make_document", refusing_soon):
        shard.apply(
            Upsert("u0", [("a", b'{"year":1}'), ("b", b'{"year":"soon"}'), ("c", b'{"year":2}')])
        )
        shard.optimise()
    assert shard.found() == {"a", "c"}


Course = list[tuple[str, int]]
courses = st.lists(
    st.tuples(
        st.sampled_from(["upsert", "delete", "begin", "step", "step", "step", "kill", "redo"]),
        st.integers(0, 5),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=20)
@given(courses)
def test_in_any_course_of_events_the_index_has_what_was_written(course: Course) -> None:
    """Writes, steps, and kills of the indexer in any order: a dictionary says what is found."""
    with tempfile.TemporaryDirectory() as name, patch.object(index_rewrite, "STEP_DOCUMENTS", 2):
        shard = Shard(Path(name))
        shard.fill(batches=2, size=3)
        model = {f"d{n}" for n in range(6)}
        is_begun = False
        for what, number in course:
            match what:
                case "upsert":
                    shard.apply(Upsert("u0", documents(range(number, number + 2))))
                    model |= {f"d{number}", f"d{number + 1}"}
                    is_begun = False
                case "delete":
                    shard.apply(Delete("u0", [f"d{number}"]))
                    model.discard(f"d{number}")
                    is_begun = False
                case "begin":
                    is_begun = shard.indexer.begin_optimising("u0")
                    assert is_begun == bool(model)
                case "step" if is_begun:
                    if shard.indexer.optimise("u0"):
                        is_begun = False
                        assert shard.segments() == 1
                case "kill":
                    shard.indexer.close()  # rolls back what is not committed, as a kill would
                    shard.indexer = ShardIndexer(Path(name), 0, MEMORY)
                    is_begun = False
                case "redo":
                    shard.indexer.state()
            assert shard.found() == model
        shard.indexer.close()


def handler_of(folder: Path) -> Indexer:
    """An indexer whose shard 0 has a collection in some segments, of texts of unequal lengths."""
    handler = make_indexer(IndexerConfig(str(folder), MEMORY))
    handler.open(0)
    ops = [pack_op(Create(BOOKS.to_json()))]
    handler(pack_command(Command.APPLY, 0, "1-0", ops), BUDGET)
    for batch in range(2, 5):
        upsert = pack_op(Upsert("u0", documents(range(batch * 10, batch * 10 + 10))))
        handler(pack_command(Command.APPLY, 0, f"{batch}-0", [upsert]), BUDGET)
    return handler


def test_an_optimised_index_is_balanced_as_the_one_before_was(tmp_path: Path) -> None:
    """To the averages of all shards, by the table that is there then, in the last step."""
    other = OneShard.of(tmp_path / "o", {"title": "text"}, [{"id": "x", "title": "a " * 99}])
    handler = handler_of(tmp_path / "w")
    own = handler(pack_command(Command.STATISTICS, 0, "u0", Priority.NICER), BUDGET)
    parts = [own, pack(collect(other.open()))]
    summed = handler(pack_command(Command.SUM, parts, Priority.NICER), BUDGET)
    table, _ = msgpack.unpackb(summed)
    handler(pack_command(Command.TABLE, "u0", table, Priority.NICER), BUDGET)
    handler(pack_command(Command.BALANCE, 0, "u0"), BUDGET)
    folder = tmp_path / "w" / "shards" / "0" / "u0"
    balanced = TextIndex.open(folder)
    assert balanced.num_padding
    assert handler(pack_command(Command.BEGIN_OPTIMISING, 0, "u0"), BUDGET) == b""
    handler(
        pack_command(Command.BALANCE, 0, "u0"), BUDGET
    )  # jobs ask for it amid; that ends nothing
    while not (packed := handler(pack_command(Command.OPTIMISE, 0, "u0"), BUDGET)):
        pass
    index = TextIndex.open(folder)
    (report,) = ShardState.unpack(packed).collections
    assert report.generation == index.generation
    assert index.num_segments == 2  # the documents, and the padding
    assert index.num_padding
    averages = [one.average_length("title", ["common"]) for one in (balanced, index)]
    assert averages[0] == pytest.approx(averages[1], rel=1e-4)
    handler.close()


def test_an_indexer_that_has_nothing_to_optimise_says_what_it_holds(tmp_path: Path) -> None:
    """At once, so that no test waits for it."""
    handler = handler_of(tmp_path)
    packed = handler(pack_command(Command.BEGIN_OPTIMISING, 0, "u1"), BUDGET)
    assert [one.documents for one in ShardState.unpack(packed).collections] == [30]
    handler.close()
