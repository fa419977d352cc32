"""Vectors of a shard: fields that are added, graphs, optimising, copies, and missing libraries."""

from array import array
from pathlib import Path
from unittest.mock import patch

import pytest

from hedgerow.common.collection import Collection, define, with_added_fields
from hedgerow.common.shard_log.operations import Create, Delete, Drop, Op, Upsert, pack_op
from hedgerow.shard_worker.indexing import definitions
from hedgerow.shard_worker.indexing.shard_indexer import ShardIndexer
from hedgerow.shard_worker.indexing.shard_report import ShardState
from hedgerow.shard_worker.storage import vector_writer
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.vectors import library, policy
from hedgerow.shard_worker.vectors.policy import Due

MEMORY = 15_000_000
PLACE = {"type": "vector", "dimensions": 4, "metric": "l2"}
THINGS = define("things", {"fields": {"title": "text", "place": PLACE}}, "u0")
NUM = 200


class Shard:
    """A shard in a folder, and its log as it goes."""

    def __init__(self, folder: Path, collection: Collection = THINGS) -> None:
        self.folder = folder
        self._entry = 0
        self.indexer = ShardIndexer(folder, 0, MEMORY, optimise_memory_bytes=MEMORY)
        self.apply(Create(collection.to_json()))

    def apply(self, *ops: Op) -> ShardState:
        """Apply operations as the next batch of the log."""
        self._entry += 1
        return self.indexer.apply(f"{self._entry}-0", [pack_op(op) for op in ops])

    def put(self, first: int, num: int = NUM) -> ShardState:
        """Write documents whose vectors say which they are."""
        rows = [
            (f"d{n:04}", b'{"title": "number %d", "place": [%d, 0, 0, 1]}' % (n, n))
            for n in range(first, first + num)
        ]
        return self.apply(Upsert("u0", rows))

    def vectors(self, folder: Path | None = None) -> dict[str, float]:
        """Id → the first number of its vector, for each document that a search finds."""
        index = TextIndex.open((folder or self.folder) / "u0")
        file = index.vectors["place"]
        hits = index.searcher.search(
            index.parse_native('id:["" TO *]'), 10_000, order_by_field="place"
        ).hits
        rows = [(row, address) for row, address in hits if row is not None]
        ids = index.ids([address for _, address in rows])
        firsts = [array("f", file.row(row))[0] for row, _ in rows]
        return dict(zip(ids, firsts, strict=True))

    def graph_rows(self) -> int:
        """The rows of the graph; 0 if there is none."""
        graph = TextIndex.open(self.folder / "u0").vectors["place"].graph()
        return 0 if graph is None else graph[0]


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    """A shard with some documents."""
    shard = Shard(tmp_path / "shard")
    shard.put(0)
    return shard


def expected(*ranges: range) -> dict[str, float]:
    """What `vectors` returns for these documents."""
    return {f"d{n:04}": float(n) for numbers in ranges for n in numbers}


def test_graphs_follow_the_rows(shard: Shard) -> None:
    """A graph is built in steps while documents come and go, then with the rows added since."""
    with patch.object(policy, "MOST_SCANNED", 50), patch.object(policy, "MOST_LEFT", 10):
        assert shard.put(0, 10).collections[0].graphs_due == Due.NOW
        assert shard.indexer.begin_graphs("u0", is_quiet=False)
        shard.put(NUM, 20)
        while not shard.indexer.build_graphs("u0"):
            shard.apply(Delete("u0", ["d0003"]))
        assert shard.graph_rows() == NUM + 10
        assert shard.indexer.state().collections[0].graphs_due == Due.WHEN_QUIET
        assert not shard.indexer.begin_graphs("u0", is_quiet=False)
        assert shard.indexer.begin_graphs("u0", is_quiet=True)
        while not shard.indexer.build_graphs("u0"):
            pass
        assert shard.graph_rows() == NUM + 30
        assert shard.indexer.state().collections[0].graphs_due == Due.NEVER
    shard.indexer.close()


def test_optimising_writes_rows_and_graph_again(shard: Shard) -> None:
    """Afterwards, rows and graph have the documents that there are, and nothing else."""
    shard.put(0, 50)
    shard.apply(Delete("u0", [f"d{n:04}" for n in range(10)]))
    with patch.object(vector_writer, "MOST_SCANNED", 50):
        assert shard.indexer.begin_optimising("u0")
        while not shard.indexer.optimise("u0"):
            assert shard.vectors() == expected(range(10, NUM))
    assert shard.vectors() == expected(range(10, NUM))
    assert shard.graph_rows() == NUM - 10
    assert len(list((shard.folder / "u0").glob("*.vectors"))) == 1
    shard.put(NUM, 5)
    shard.indexer.close()
    assert shard.vectors() == expected(range(10, NUM + 5))


def test_a_field_that_is_added_is_filled(tmp_path: Path) -> None:
    """Vectors that were only stored are found once their field is there."""
    plain = define("things", {"fields": {"title": "text"}}, "u0")
    shard = Shard(tmp_path / "shard", plain)
    shard.put(0)
    wider = with_added_fields(plain, {"place": PLACE})
    shard.apply(Create(wider.to_json()))
    assert shard.indexer.begin_filling("u0")
    is_done = False
    while not is_done:
        shard.put(NUM, 20)
        is_done = shard.indexer.fill("u0")
    assert shard.vectors() == expected(range(NUM + 20))
    shard.indexer.close()


def test_a_copy_is_as_of_one_moment(shard: Shard, tmp_path: Path) -> None:
    """A copy has the rows that there were when it began, and serves as a shard of its own."""
    (tmp_path / "copy").mkdir()
    copy = shard.indexer.freeze(tmp_path / "copy")
    shard.put(NUM, 50)
    copy._thread.join()
    assert copy.is_done()
    shard.indexer.close()
    assert shard.vectors(tmp_path / "copy") == expected(range(NUM))
    restored = ShardIndexer(tmp_path / "copy", 0, MEMORY)
    (report,) = restored.state().collections
    assert report.documents == NUM
    restored.close()
    assert shard.vectors(tmp_path / "copy") == expected(range(NUM))


def test_without_the_libraries(shard: Shard) -> None:
    """A worker that lacks the extra keeps the documents of such a collection, and indexes none."""
    shard.indexer.close()
    with patch.object(definitions, "is_installed", lambda: False):
        without = ShardIndexer(shard.folder, 0, MEMORY)
        (report,) = without.state().collections
        assert (report.documents, report.generation) == (NUM, 0)
        without.close()


def test_a_shard_with_vectors_tells_scorers_so(tmp_path: Path) -> None:
    """It does from the definition on, and no longer when it is opened without any vector field."""
    texts = define("texts", {"fields": {"title": "text"}}, "u1")
    shard = Shard(tmp_path / "0", texts)
    assert not library.is_noted(tmp_path)
    shard.apply(Create(THINGS.to_json()))
    assert library.is_noted(tmp_path)
    shard.indexer.close()
    again = ShardIndexer(tmp_path / "0", 0, MEMORY)
    again.opened()
    assert library.is_noted(tmp_path)
    again.apply("9-0", [pack_op(Drop("u0"))])
    again.close()
    again = ShardIndexer(tmp_path / "0", 0, MEMORY)
    again.opened()
    assert not library.is_noted(tmp_path)
    again.close()
