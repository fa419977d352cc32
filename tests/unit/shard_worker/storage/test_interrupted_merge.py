"""A merge that a kill has interrupted starts again with the next writer, and loses no deletion.

When eight segments of a size have come together, tantivy merges them in a thread after the commit.
If the process dies before the merge ends, the next writer starts the merge again as soon as it
flushes a segment, before its first commit.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.collection import define
from hedgerow.shard_worker.storage.text_index import TextIndex
from hedgerow.shard_worker.storage.text_index_writer import TextIndexWriter

COLLECTION = define("c", {"fields": {"title": "text"}}, uid="u1")
NUM_SEGMENTS = 8  # as many as tantivy merges at once
NUM_DOCUMENTS = 500  # in each; enough for a merge that takes far longer than to abandon it
MAX_TRIES = 10


def segments(folder: Path) -> list[dict[str, Any]]:
    """What the last commit, or the last merge, says of the segments."""
    found: list[dict[str, Any]] = json.loads((folder / "meta.json").read_bytes())["segments"]
    return found


def found(folder: Path) -> Counter[str]:
    """How often a search for everything finds each id."""
    index = TextIndex.open(folder)
    every = index.searcher.search(index.parse_native("*"), index.searcher.num_docs)
    return Counter(index.ids([address for _, address in every.hits]))


def interrupt_a_merge(folder: Path) -> None:
    """Leave an index as a kill during a merge does; its last commit has deleted "1-0"."""
    writer = TextIndexWriter.open(folder, COLLECTION)
    writer.rebuild([])
    for number in range(NUM_SEGMENTS):
        # The first segment is the largest: a merge takes the others' deletions to be its own.
        ids = [f"{number}-{place}" for place in range(NUM_DOCUMENTS + (number == 0))]
        deletes = ["1-0"] if number == NUM_SEGMENTS - 1 else []
        writer.apply(deletes, [(one, {"title": "some words"}) for one in ids])
        writer.commit()
    writer.abandon()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index whose merge was interrupted."""
    for number in range(MAX_TRIES):  # the merge may have been quicker
        folder = tmp_path / str(number)
        interrupt_a_merge(folder)
        if len(segments(folder)) == NUM_SEGMENTS:
            return folder
    raise AssertionError(f"no merge could be interrupted in {MAX_TRIES} attempts")


@pytest.mark.parametrize(
    ("deletes", "times_found"),
    [(["1-1"], 0), ([], 1)],
    ids=["deleted", "replaced"],
)
def test_the_first_deletion_after_a_kill_outlives_the_merge(
    folder: Path, deletes: list[str], times_found: int
) -> None:
    """A document that the new writer deletes or replaces first is not found again."""
    writer = TextIndexWriter.open(folder, COLLECTION)
    replaced = "0-0" if deletes else "1-1"
    writer.apply(deletes, [(replaced, {"title": "new"})])
    writer.commit()
    writer.close()  # when the merge has ended
    assert len(segments(folder)) == 2
    after = found(folder)
    assert after["1-1"] == times_found
    assert after["1-0"] == 0
    assert set(after.values()) == {1}
    # One more in the first segment, and one less: "1-0".
    assert len(after) == NUM_SEGMENTS * NUM_DOCUMENTS - len(deletes)
