"""The rows of one field: packed vectors in an append-only file, mapped into memory to read.

- A row is appended and synced before the commit of the text index that refers to it.
- Rows are never changed. When the text index is written as a whole (optimised), it begins a new
  file, and its commit removes the old one.
- A file has a random number, so that a row of an old index is never read from the file of the index
  that replaced it. The text index names the file in a mark, a term that all documents with a vector
  of the field have.
"""

import mmap
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hedgerow.common.fields.vectors import VectorField
from hedgerow.common.machine.appended_file import AppendedFile

MARK: Final = "%"  # begins a mark; no field has it in its name
_SEPARATOR: Final = "#"
_NUMBER_BITS: Final = 24
_SUFFIX: Final = ".vectors"
_GRAPH_SUFFIX: Final = ".graph"


def mark_of(name: str, number: int) -> str:
    """The mark of documents whose vector of a field is in the file of that number."""
    return f"{MARK}{name}{_SEPARATOR}{number:06x}"


def read_marks(marks: Iterable[str]) -> dict[str, int]:
    """Field → number of its file, from the marks of an index."""
    found = {}
    for mark in marks:
        name, _, number = mark.removeprefix(MARK).rpartition(_SEPARATOR)
        found[name] = int(number, 16)
    return found


def rows_path(folder: Path, number: int) -> Path:
    """Where the rows of a number are."""
    return folder / f"{number:06x}{_SUFFIX}"


def graph_path(folder: Path, number: int, num_rows: int) -> Path:
    """Where the graph of the first rows of a file is."""
    return folder / f"{number:06x}.{num_rows}{_GRAPH_SUFFIX}"


def graphs_of(folder: Path, number: int) -> list[tuple[int, Path]]:
    """The graphs of a file: how many rows each has, and where it is; that of most rows is last."""
    found = []
    for path in folder.glob(f"{number:06x}.*{_GRAPH_SUFFIX}"):
        rows = path.name.split(".")[1]
        if rows.isdecimal():
            found.append((int(rows), path))
    return sorted(found)


def is_rows(name: str) -> bool:
    """Whether a file of an index has rows, to which more may be appended."""
    return name.endswith(_SUFFIX)


def is_graph(name: str) -> bool:
    """Whether a file of an index is a graph, which never changes."""
    return name.endswith(_GRAPH_SUFFIX)


def remove_but(folder: Path, numbers: Iterable[int]) -> None:
    """Remove the rows and graphs of all other numbers, and graphs that were not completed."""
    kept = {f"{number:06x}" for number in numbers}
    for path in folder.iterdir():
        is_ours = is_rows(path.name) or f"{_GRAPH_SUFFIX}" in path.suffixes
        is_cut_short = is_ours and path.name.endswith(".new")
        if is_ours and (is_cut_short or path.name.partition(".")[0] not in kept):
            path.unlink(missing_ok=True)


class RowWriter:
    """Appends the rows of one field; owned by the index's writer.

    Attributes:
        field: the field's definition.
        number: of the file; None if there is none yet.
    """

    def __init__(self, folder: Path, field: VectorField, number: int | None) -> None:
        """Append to the file of a number in the index's folder, or to a new one."""
        self.field = field
        self.number = number
        self._folder = folder
        self._file: _File | None = None
        self._outdated: int | None = None

    def add(self, packed: bytes) -> int:
        """Append a vector that was checked; returns its row.

        Raises:
            OSError: it cannot be written.
        """
        if self._file is None:
            self._file = self._open()
        return self._file.add(packed)

    def sync(self) -> None:
        """Make the rows durable; to be called before the index commits.

        Raises:
            OSError: they cannot be written.
        """
        if self._file is not None:
            self._file.sync()

    def flush(self) -> None:
        """Make the rows visible to this process's readers."""
        if self._file is not None:
            self._file.flush()

    def start_new_file(self) -> None:
        """Begin a new file: the next commit will drop all documents that were added so far."""
        self.close()
        if self._outdated is None:
            self._outdated = self.number
        self.number = None

    def remove_outdated(self) -> None:
        """Remove the old file; to be called after the first commit since `start_new_file`."""
        if self._outdated is not None:
            rows_path(self._folder, self._outdated).unlink(missing_ok=True)
            for _, path in graphs_of(self._folder, self._outdated):
                path.unlink(missing_ok=True)
            self._outdated = None

    def close(self) -> None:
        """Close the file, and remove it if none of its rows was committed."""
        file, self._file = self._file, None
        if file is not None and file.close():
            for _, path in graphs_of(self._folder, file.number):
                path.unlink(missing_ok=True)
            if self.number == file.number:
                self.number = None

    def _open(self) -> "_File":
        is_new = self.number is None
        while self.number is None:
            number = secrets.randbits(_NUMBER_BITS)
            if not rows_path(self._folder, number).exists():
                self.number = number
        return _File(self._folder, self.number, self.field.num_bytes, is_new=is_new)


class _File:
    """A file of rows of the same length."""

    def __init__(self, folder: Path, number: int, num_bytes: int, *, is_new: bool) -> None:
        self.number = number
        self._num_bytes = num_bytes
        self._file = AppendedFile(rows_path(folder, number), is_new=is_new)
        self._file.fill_up(num_bytes)

    def add(self, packed: bytes) -> int:
        row = self._file.size // self._num_bytes
        self._file.write(packed)
        return row

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> bool:
        """Close the file; returns whether it was removed, since no commit refers to it."""
        return self._file.close()


class RowFile:
    """The rows of one field as of a commit of the text index, mapped into memory.

    Attributes:
        folder: the index's.
        number: the file's.
        mark: of the documents that have a vector here.
        field: the field's definition.
        num_rows: how many rows there are, at least those of the commit.
        mapped: the bytes of the rows.
    """

    def __init__(self, folder: Path, name: str, number: int, field: VectorField) -> None:
        """Map the file that an index refers to.

        Raises:
            FileNotFoundError, ValueError: there is none, or it is empty.
            OSError: the operating system refuses it for now.
        """
        self.folder = folder
        self.number = number
        self.mark = mark_of(name, number)
        self.field = field
        with rows_path(folder, number).open("rb") as file:
            self.mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.num_rows = len(self.mapped) // field.num_bytes

    def row(self, number: int) -> bytes:
        """A packed row."""
        start = number * self.field.num_bytes
        return self.mapped[start : start + self.field.num_bytes]

    def graph(self) -> tuple[int, Path] | None:
        """How many rows the graph has that covers most, and where it is; None if there is none.

        It may have later rows, too, to which the text index that was opened does not refer.
        """
        found = graphs_of(self.folder, self.number)
        return found[-1] if found else None
