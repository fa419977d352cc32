"""A shard's indexer chooses the boundaries of ids once there are ids to choose from."""

import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from hedgerow.common.collection import define
from hedgerow.common.shard_log.operations import Create, Delete, Op, Upsert, pack_op
from hedgerow.common.snapshots.restore import shard_folder
from hedgerow.shard_worker.indexing import level_choice
from hedgerow.shard_worker.indexing.shard_indexer import ShardIndexer
from hedgerow.shard_worker.scoring.open_shards import OpenShards
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

MEMORY = 15_000_000
TITLES = define("titles", {"fields": {"title": "text"}}, "u0")
FEWEST, MOST = 40, 400


class Shard:
    """A shard in a folder, whose log is written as it goes."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.folder = shard_folder(data, 0)
        self.folder.mkdir(parents=True)
        self.indexer = ShardIndexer(self.folder, 0, MEMORY)
        self._entry = 0
        self.apply(Create(TITLES.to_json()))

    def apply(self, *ops: Op) -> None:
        """Apply operations as the next batch of the log."""
        self._entry += 1
        self.indexer.apply(f"{self._entry}-0", [pack_op(op) for op in ops])

    def add(self, ids: list[str]) -> None:
        """Add documents, as one batch."""
        body = json.dumps({"title": "word"}).encode()
        self.apply(Upsert("u0", [(one, body) for one in ids]))

    def counts(self) -> list[int]:
        """How many documents are below each boundary."""
        return [level.num_documents for level in self.index().levels]

    def index(self) -> TextIndex:
        """The index as it is now."""
        return TextIndex.open(self.folder / "u0")


@pytest.fixture
def shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shard]:
    """A shard that chooses from fewer ids than others."""
    monkeypatch.setattr(level_choice, "FEWEST_DOCUMENTS", FEWEST)
    monkeypatch.setattr(level_choice, "MOST_DOCUMENTS", 2 * MOST)
    shard = Shard(tmp_path)
    yield shard
    shard.indexer.close()


def numbered(start: int, end: int) -> list[str]:
    """Ids that grow, as those of log lines do."""
    return [f"line-{number:05}" for number in range(start, end)]


def test_boundaries_are_chosen_when_there_are_enough_documents(shard: Shard) -> None:
    """Before, there are none; from then on, whatever is added is marked."""
    shard.add(numbered(0, FEWEST - 1))
    shard.add(numbered(FEWEST - 1, FEWEST))
    assert shard.counts() == []
    shard.add(["a", "line-00003+", "z"])
    assert shard.counts()[0] == 3  # two of the first, and "a"
    assert FEWEST / 2 < shard.counts()[-1] < FEWEST
    assert shard.index().num_documents == FEWEST + 3


def test_boundaries_that_all_later_ids_exceed_are_chosen_again(shard: Shard) -> None:
    """When ids only grow, the highest boundary still has a good part of all documents below."""
    for start in range(0, MOST, 20):
        shard.add(numbered(start, start + 20))
        counts = shard.counts()
        if start > FEWEST:
            assert counts[0] <= 3
            assert counts[-1] >= start / 16
    assert shard.index().num_documents == MOST


def test_boundaries_that_nearly_all_later_ids_go_below_are_chosen_again(shard: Shard) -> None:
    """When ids only shrink, the lowest boundary still has but a few documents below."""
    for start in range(MOST, 0, -20):
        shard.add(numbered(start - 20, start))
        counts = shard.counts()
        if start < MOST - FEWEST - 20:
            assert counts[0] <= 16 + 20


def test_what_is_written_is_found_at_once_while_boundaries_are_chosen(shard: Shard) -> None:
    """Each write begins a new generation, by which a search finds what is there, and no more."""
    searched = OpenShards(shard.data)
    ids = numbered(0, MOST)
    for end in range(1, MOST + 1, 7):
        start = max(0, end - 7)
        shard.add(ids[start:end])
        shard.apply(Delete("u0", ids[start : start + 2]))
        (report,) = shard.indexer.state().collections
        found = searched.snapshot(0, "u0", report.generation, float(end))
        assert found is not None
        assert found.index.num_documents == report.documents
    assert shard.counts()
    searched.close()


@pytest.mark.parametrize("limit", ["MOST_DOCUMENTS", "MOST_BYTES"])
def test_a_large_index_is_left_to_optimising(
    shard: Shard, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No write waits until an index of any size is rewritten; optimising chooses boundaries."""
    monkeypatch.setattr(level_choice, limit, FEWEST)
    shard.add(numbered(0, MOST + 1))
    shard.add(numbered(MOST + 1, MOST + 2))
    assert shard.counts() == []
    assert shard.indexer.begin_optimising("u0")
    while not shard.indexer.optimise("u0"):
        pass
    assert shard.counts()[0] == 2
    assert MOST / 2 < shard.counts()[-1] < MOST
    shard.add(["a"])
    assert shard.counts()[0] == 3


def test_nothing_is_lost_when_boundaries_cannot_be_written(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that could be emptied and not filled again stays as it was."""
    shard.add(numbered(0, FEWEST))
    with (
        patch.object(TextIndexWriter, "add", side_effect=OSError("disk full")),
        pytest.raises(OSError, match="disk full"),
    ):
        shard.add(["a"])
    assert shard.index().num_documents == FEWEST
    with monkeypatch.context() as later:
        later.setattr(level_choice, "MOST_DOCUMENTS", 0)
        shard.add(["a"])
    assert shard.index().num_documents == FEWEST + 1
    shard.add(["b"])
    assert shard.index().num_documents == FEWEST + 2
    assert shard.counts()


def test_an_index_that_is_rebuilt_has_boundaries(shard: Shard) -> None:
    """An index that was lost, and is made from the store, has boundaries."""
    shard.add(numbered(0, MOST))
    shard.indexer.close()
    (shard.folder / "u0" / "meta.json").unlink()
    shard.indexer = ShardIndexer(shard.folder, 0, MEMORY)
    shard.indexer.state()
    assert shard.counts()[0] == 2
    assert shard.index().num_documents == MOST
