"""The benchmark of a reindex does what its rows say."""

from pathlib import Path

from bench.reindexed import Shard, goods, measure
from hedgerow.common.shard_log.operations import Mirror


def test_everything_is_copied_in_steps(tmp_path: Path) -> None:
    """The new collection has all documents after the copy, which takes several steps."""
    documents = goods(2500)
    shard = Shard(tmp_path / "0")
    shard.write(documents, 10)
    shard.apply(Mirror("pair", "old", "new"))
    assert shard.copy() > 0
    (report,) = shard._indexer.state().mirrors
    shard.close()
    assert (report.old_documents, report.new_documents) == (2500, 2500)
    assert report.number > 1


def test_each_row_has_a_cost(tmp_path: Path) -> None:
    """Of CPU time, for each document."""
    assert all(0 < cost < 1 for cost in measure(tmp_path / "0", goods(400)))
