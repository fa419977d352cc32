"""Files of rows: what is appended, what a kill leaves behind, and what replaces them."""

from pathlib import Path

import pytest

from hedgerow.common.fields.vectors import VectorField
from hedgerow.shard_worker.vectors.files import (
    RowFile,
    RowWriter,
    graph_path,
    mark_of,
    read_marks,
    remove_but,
    rows_path,
)

FIELD = VectorField(2)


def row(number: int) -> bytes:
    """A row that says which it is."""
    return bytes([number]) * FIELD.num_bytes


def names(folder: Path) -> list[str]:
    """The files in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_marks_name_files() -> None:
    """A mark says which file a field's rows are in, whatever the field is called."""
    marks = [mark_of("a.b_1", 0xABC), mark_of("v", 7)]
    assert read_marks(marks) == {"a.b_1": 0xABC, "v": 7}


def test_rows_are_appended_across_restarts(tmp_path: Path) -> None:
    """A writer goes on where the last one ended, and readers see what was synced."""
    writer = RowWriter(tmp_path, FIELD, None)
    assert [writer.add(row(n)) for n in range(3)] == [0, 1, 2]
    writer.sync()
    writer.close()
    number = writer.number
    assert number is not None
    writer = RowWriter(tmp_path, FIELD, number)
    assert writer.add(row(3)) == 3
    writer.sync()
    file = RowFile(tmp_path, "v", number, FIELD)
    assert [file.row(n) for n in range(file.num_rows)] == [row(n) for n in range(4)]
    writer.close()


def test_a_part_of_a_row_belongs_to_none(tmp_path: Path) -> None:
    """After a kill in the middle of a row, the next row does not overlap what is left of it."""
    path = rows_path(tmp_path, 5)
    path.write_bytes(row(1) + row(2)[:3])
    writer = RowWriter(tmp_path, FIELD, 5)
    assert writer.add(row(7)) == 2
    writer.sync()
    file = RowFile(tmp_path, "v", 5, FIELD)
    assert file.row(0) == row(1)
    assert file.row(2) == row(7)
    writer.close()


def test_what_no_commit_refers_to_is_removed(tmp_path: Path) -> None:
    """A file that was never synced is removed when it is closed."""
    writer = RowWriter(tmp_path, FIELD, None)
    writer.add(row(1))
    writer.close()
    assert names(tmp_path) == []
    assert writer.number is None


def test_a_new_file_replaces_the_old_one_after_the_commit(tmp_path: Path) -> None:
    """Rows and graph of the old file are there until the commit that begins the new one."""
    writer = RowWriter(tmp_path, FIELD, None)
    writer.add(row(1))
    writer.sync()
    old = writer.number
    assert old is not None
    graph_path(tmp_path, old, 1).touch()
    writer.start_new_file()
    assert writer.add(row(2)) == 0
    writer.sync()
    assert writer.number != old
    assert rows_path(tmp_path, old).exists()
    writer.remove_outdated()
    assert names(tmp_path) == [f"{writer.number:06x}.vectors"]
    writer.close()


def test_leftovers_of_a_kill_are_removed(tmp_path: Path) -> None:
    """Only files of the numbers that an index refers to stay, and complete graphs."""
    for name in ("000001.vectors", "000001.9.graph", "000002.vectors", "000002.9.graph"):
        (tmp_path / name).touch()
    for name in ("000001.12.graph.new", "meta.json", "abc.store"):
        (tmp_path / name).touch()
    remove_but(tmp_path, [1])
    assert names(tmp_path) == ["000001.9.graph", "000001.vectors", "abc.store", "meta.json"]


def test_the_graph_of_most_rows_counts(tmp_path: Path) -> None:
    """Numbers of rows are compared as numbers."""
    rows_path(tmp_path, 1).write_bytes(row(1))
    for num in (9, 10_000, 200):
        graph_path(tmp_path, 1, num).touch()
    assert RowFile(tmp_path, "v", 1, FIELD).graph() == (10_000, graph_path(tmp_path, 1, 10_000))


def test_missing_rows(tmp_path: Path) -> None:
    """A file that is not there, or empty, cannot be read."""
    with pytest.raises(FileNotFoundError):
        RowFile(tmp_path, "v", 1, FIELD)
    rows_path(tmp_path, 1).touch()
    with pytest.raises(ValueError, match="empty"):
        RowFile(tmp_path, "v", 1, FIELD)
