"""Short documents beside a text index, in append-only files that are mapped into memory to read.

The store holds every document, but has to look one up in two trees, which takes 3 to 4 µs. A search
that attaches its documents reads dozens of them, and this was most of their cost. Here a document
is read directly from its place in a file, which the index stores as a number: 0.4 µs.

- A document is appended and synced before the commit that makes its place visible. Bytes that a
  killed process leaves behind the last commit belong to no document.
- A document that is replaced or deleted leaves a hole. When an index is rewritten (optimised), it
  begins a new file, and its commit removes the old ones.
- Vectors are left out. A search that asks for them reads its documents from the store.
- Other documents are read from the store: those that are too large, those of an index that was
  restored from a snapshot, and those of an index that an earlier version wrote.

A file's number is random, so that a place in an old index never refers to a file of the index that
replaced it.
"""

import mmap
import secrets
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Final

from hedgerow.common.machine.appended_file import AppendedFile

MAX_BODY_BYTES: Final = 2048  # larger documents are in the store alone, not twice on disk

OFFSET_BITS: Final = 40  # the shard indexer does not let a file become this large
_NUMBER_BITS: Final = 24
_OFFSETS: Final = (1 << OFFSET_BITS) - 1
_SUFFIX: Final = ".bodies"
_SIZE: Final = Struct("<H")  # precedes each document


class BodyWriter:
    """Appends documents to the files of one index; owned by the index's writer."""

    def __init__(self, folder: Path) -> None:
        """Append to the file in the index's folder, or to a new one if there is none."""
        self._folder = folder
        self._number = next(_numbers(folder), None)
        self._file: _File | None = None
        self._outdated: list[Path] = []

    @property
    def num_bytes(self) -> int:
        """Size of all files on disk."""
        return sum(_path(self._folder, one).stat().st_size for one in _numbers(self._folder))

    def add(self, body: bytes) -> int | None:
        """Append a document.

        Returns:
            Its place; None if it is larger than `MAX_BODY_BYTES`.

        Raises:
            OSError: it cannot be written.
        """
        if len(body) > MAX_BODY_BYTES:
            return None
        if self._file is None:
            self._file = self._open()
        return self._file.add(body)

    def sync(self) -> None:
        """Make the appended documents durable; to be called before the index commits.

        Raises:
            OSError: it cannot be written.
        """
        if self._file is not None:
            self._file.sync()

    def start_new_file(self) -> None:
        """Begin a new file: the next commit will drop all documents that were appended so far."""
        self.close()
        self._outdated = [_path(self._folder, one) for one in _numbers(self._folder)]
        self._number = None

    def remove_outdated(self) -> None:
        """Remove the old files; to be called after the first commit since `start_new_file`."""
        for path in self._outdated:
            path.unlink(missing_ok=True)
        self._outdated = []

    def close(self) -> None:
        """Close the file, and remove it if none of its documents was committed."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _open(self) -> "_File":
        if self._number is not None:
            return _File(self._folder, self._number, is_new=False)
        taken = set(_numbers(self._folder))
        while (number := secrets.randbits(_NUMBER_BITS)) in taken:
            pass
        self._number = number
        return _File(self._folder, number, is_new=True)


class _File:
    """A file of documents, and where the next one goes."""

    def __init__(self, folder: Path, number: int, *, is_new: bool) -> None:
        self._file = AppendedFile(_path(folder, number), is_new=is_new)
        self._first_place = number << OFFSET_BITS

    def add(self, body: bytes) -> int:
        place = self._first_place + self._file.size
        self._file.write(_SIZE.pack(len(body)) + body)
        return place

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._file.close()


class BodyReader:
    """Reads documents from the files of one index, as of any of its commits."""

    def __init__(self, folder: Path) -> None:
        """Prepare to read; files are opened when they are first needed."""
        self._folder = folder
        self._maps: dict[int, mmap.mmap | None] = {}  # None: the file does not exist

    def read(self, place: int) -> bytes | None:
        """The document at a committed place; None if it cannot be read from these files."""
        number, start = place >> OFFSET_BITS, (place & _OFFSETS) + _SIZE.size
        mapped = self._maps.get(number)
        if mapped is None or start > len(mapped):
            mapped = self._map(number, start)
            if mapped is None:
                return None
        end = start + _SIZE.unpack_from(mapped, start - _SIZE.size)[0]
        if end > len(mapped):  # the file has grown since it was mapped
            mapped = self._map(number, end)
            if mapped is None:
                return None
        return mapped[start:end]

    def close(self) -> None:
        """Close all files."""
        for mapped in self._maps.values():
            if mapped is not None:
                mapped.close()
        self._maps.clear()

    def _map(self, number: int, least_bytes: int) -> mmap.mmap | None:
        """Map a file as it is now; None if it has fewer than `least_bytes`."""
        if number in self._maps and self._maps[number] is None:
            return None
        self._close_removed()
        try:
            with _path(self._folder, number).open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            self._maps[number] = None  # and never will: files precede their places
            return None
        except (
            OSError,
            ValueError,
        ):  # an empty file, or no file descriptor is left
            return None
        before, self._maps[number] = self._maps.get(number), mapped
        if before is not None:
            before.close()
        return mapped if len(mapped) >= least_bytes else None

    def _close_removed(self) -> None:
        # A removed file occupies the disk for as long as it is mapped.
        for number, mapped in list(self._maps.items()):
            if mapped is not None and not _path(self._folder, number).exists():
                mapped.close()
                del self._maps[number]


def _numbers(folder: Path) -> Iterator[int]:
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        yield int(path.stem, 16)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06x}{_SUFFIX}"
