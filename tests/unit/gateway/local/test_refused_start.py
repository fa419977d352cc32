"""A start that is refused leaves a folder as it was, but for logs that say why."""

from pathlib import Path

import pytest

from hedgerow.gateway.local.refused_start import RefusedStart


def store(data: Path) -> None:
    """What a start puts into a folder."""
    data.mkdir(exist_ok=True)
    (data / "lock").touch()
    for name in ("logs", "redis", "worker-0"):
        (data / name).mkdir(exist_ok=True)
        (data / name / "file").touch()


def names(data: Path) -> set[str]:
    """What is in a folder now."""
    return {path.name for path in data.iterdir()}


def test_a_new_folder_is_removed(tmp_path: Path) -> None:
    """Unless workers have written logs, which stay."""
    data = tmp_path / "data"
    start = RefusedStart(data)
    store(data)
    start.keeps_logs = True
    start.undo()
    assert names(data) == {"logs"}
    again = RefusedStart(data)
    store(data)
    again.undo()
    assert names(data) == {"logs"}
    other = tmp_path / "other"
    start = RefusedStart(other)
    store(other)
    start.undo()
    assert not other.exists()


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    """A file of keys, for example, which may be made before the first start."""
    (tmp_path / "keys.json").write_text("{}")
    start = RefusedStart(tmp_path)
    store(tmp_path)
    start.undo()
    assert names(tmp_path) == {"keys.json"}


@pytest.mark.parametrize("keeps_logs", [False, True])
def test_a_cluster_is_left_alone(tmp_path: Path, keeps_logs: bool) -> None:
    """Whatever the start has added to it: another worker's folder may be the only copy by now."""
    store(tmp_path)
    start = RefusedStart(tmp_path)
    start.keeps_logs = keeps_logs
    (tmp_path / "worker-1").mkdir()
    before = names(tmp_path)
    start.undo()
    assert names(tmp_path) == before


def test_a_folder_that_could_not_be_created_leaves_nothing_to_undo(tmp_path: Path) -> None:
    """So the error that says why is the one that the user sees."""
    (tmp_path / "file").touch()
    for data in (tmp_path / "file", tmp_path / "file" / "data"):
        RefusedStart(data).undo()
    assert names(tmp_path) == {"file"}
