"""What is set aside stays below a size on disk, the newest of it, in whole lines."""

import json
import os
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.observability.telemetry import Counters
from hedgerow.shard_worker.indexing.set_aside_files import SetAsideFiles, append_line

MAX_BYTES = 100
lines = st.lists(st.integers(1, MAX_BYTES).map(lambda size: b"x" * (size - 1) + b"\n"), max_size=30)


def newest_that_fit(appended: list[bytes]) -> list[bytes]:
    """The longest run of the last lines that has at most `MAX_BYTES`, found by trying all."""
    runs = (appended[start:] for start in range(len(appended) + 1))
    return next(run for run in runs if sum(map(len, run)) <= MAX_BYTES)


@given(lines)
def test_the_newest_lines_stay_and_those_that_went_are_counted(
    tmp_path_factory: pytest.TempPathFactory, appended: list[bytes]
) -> None:
    """After any lines, the file has as many of the last ones as fit; no other file is left."""
    path = tmp_path_factory.mktemp("aside") / "file"
    num_dropped = sum(append_line(path, line, MAX_BYTES) for line in appended)
    kept = newest_that_fit(appended)
    assert b"".join(kept) == (path.read_bytes() if appended else b"")
    assert num_dropped == len(appended) - len(kept)
    assert len(list(path.parent.iterdir())) == bool(appended)


@pytest.mark.parametrize("torn_bytes", [1, 70_000])
def test_a_line_that_a_kill_has_cut_is_removed(tmp_path: Path, torn_bytes: int) -> None:
    """What follows it can be read, as can what was before."""
    path = tmp_path / "file"
    path.write_bytes(b"one\n" + b"t" * torn_bytes)
    assert append_line(path, b"two\n", 100_000) == 0
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_file_that_cannot_be_replaced_stays_as_it_is(tmp_path: Path) -> None:
    """If the disk fails while old lines are dropped, nothing is lost."""
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\n")
    failing = patch.object(os, "fsync", side_effect=OSError("no room"))
    with failing, pytest.raises(OSError, match="no room"):
        append_line(path, b"three\n", 10)
    assert path.read_bytes() == b"one\ntwo\n"


async def test_what_is_dropped_is_counted_and_told(tmp_path: Path) -> None:
    """The status has the bytes of all files, and how many documents went."""
    counters = Counters()
    files = SetAsideFiles(tmp_path, 400, counters)
    for number in range(5):
        await files.keep(0, {"id": f"d{number}", "document": "x" * 150})
    await files.keep(1, {"id": "other"})
    told = files.to_json()
    assert told["dropped"] == counters["set_aside_dropped"] == 3
    assert told["bytes"] == sum(files.path(shard).stat().st_size for shard in (0, 1))
    kept = [json.loads(line)["id"] for line in files.path(0).read_text().splitlines()]
    assert kept == ["d3", "d4"]


async def test_a_document_larger_than_the_file_may_be_is_named(tmp_path: Path) -> None:
    """Its line says why it was set aside, and how large it was; the document is not kept."""
    files = SetAsideFiles(tmp_path, 200, Counters())
    await files.keep(0, {"id": "d", "reason": "killed", "document": "x" * 1000})
    record = json.loads(files.path(0).read_text())
    assert record.pop("left_out_bytes") > 1000
    assert record == {"id": "d", "reason": "killed"}


def test_files_that_an_operator_removes_count_no_more(tmp_path: Path) -> None:
    """The next measuring says what is there now, also from before the start."""
    folder = tmp_path / "set-aside"
    folder.mkdir()
    (folder / "shard-7.ndjson").write_bytes(b"line\n")
    files = SetAsideFiles(tmp_path, 200, Counters())
    files.measure()
    assert files.to_json() == {"bytes": 5, "dropped": 0}
    (folder / "shard-7.ndjson").unlink()
    folder.rmdir()
    files.measure()
    assert files.to_json() == {"bytes": 0, "dropped": 0}
