"""Short documents beside a text index: files that are appended to, and mapped into memory to read.

The store has every document, and finds one in two trees, in 3 to 4 µs. A search that brings its
documents along reads them by the dozen, so that this was most of what they cost. Here a document is
read from its place, which the index has as a number of each document: 0.4 µs.

- A document is appended and synced before the commit that makes its place visible. What a kill
  leaves behind the last commit is no document's.
- A document that is replaced or deleted leaves a hole. An index that is written anew (optimised)
  begins another file, and the others are removed with its commit.
- What is not here is read from the store: documents that are too large, those of an index from a
  snapshot, and those of an index that an earlier version made.

A file's number is drawn, so that the place in one index never means a file of another that was made
in its stead.
"""

import mmap
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Final

MAX_BODY_BYTES: Final = 2048  # of a document that is kept here; larger ones are on disk once

_OFFSET_BITS: Final = 40  # the shard indexer lets no file become that large
_NUMBER_BITS: Final = 24
_OFFSETS: Final = (1 << _OFFSET_BITS) - 1
_SUFFIX: Final = ".bodies"
_BUFFER_BYTES: Final = 262_144
_SIZE: Final = Struct("<H")  # stands before each document


class BodyWriter:
    """Appends to the files of one index; the index's writer has it."""

    def __init__(self, folder: Path) -> None:
        """Go on where a file in the index's folder ends, or in a new one."""
        self._folder = folder
        self._number = next(_numbers(folder), None)
        self._file: _File | None = None
        self._outdated: list[Path] = []

    @property
    def num_bytes(self) -> int:
        """Of all files, as they are on disk."""
        return sum(_path(self._folder, one).stat().st_size for one in _numbers(self._folder))

    def add(self, body: bytes) -> int | None:
        """Append a document.

        Returns:
            Its place; None if it is too large to be kept here.

        Raises:
            OSError: it cannot be written.
        """
        if len(body) > MAX_BODY_BYTES:
            return None
        if self._file is None:
            self._file = self._open()
        return self._file.add(body)

    def sync(self) -> None:
        """Make durable what was appended; to be called before the index commits.

        Raises:
            OSError: it cannot be written.
        """
        if self._file is not None:
            self._file.sync()

    def begin_anew(self) -> None:
        """Nothing that was appended so far will be in the index after its next commit."""
        self.close()
        self._outdated = [_path(self._folder, one) for one in _numbers(self._folder)]
        self._number = None

    def remove_outdated(self) -> None:
        """The index has committed what it was to have after `begin_anew`."""
        for path in self._outdated:
            path.unlink(missing_ok=True)
        self._outdated = []

    def close(self) -> None:
        """Close the file; one of which nothing was committed is removed."""
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
    """A file that is appended to."""

    def __init__(self, folder: Path, number: int, *, is_new: bool) -> None:
        self._path = _path(folder, number)
        self._file = self._path.open("ab", buffering=_BUFFER_BYTES)
        self._next_place = (number << _OFFSET_BITS) + self._path.stat().st_size
        self._is_new = is_new  # so that no commit has a place in it
        self._is_synced = True

    def add(self, body: bytes) -> int:
        place = self._next_place
        self._is_synced = False
        self._file.write(_SIZE.pack(len(body)) + body)
        self._next_place += _SIZE.size + len(body)
        return place

    def sync(self) -> None:
        if self._is_synced:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._is_new:
            _sync_folder(self._path.parent)
        self._is_new, self._is_synced = False, True

    def close(self) -> None:
        try:
            self._file.close()
        finally:
            if self._is_new:
                self._path.unlink(missing_ok=True)


class BodyReader:
    """Reads from the files of one index, whichever commits it has had."""

    def __init__(self, folder: Path) -> None:
        """Open nothing yet."""
        self._folder = folder
        self._maps: dict[int, mmap.mmap | None] = {}  # None of a file that is not there

    def read(self, place: int) -> bytes | None:
        """The document at a place that an index has committed; None if it cannot be read here."""
        number, start = place >> _OFFSET_BITS, (place & _OFFSETS) + _SIZE.size
        mapped = self._maps.get(number)
        if mapped is None or start > len(mapped):
            mapped = self._map(number, start)
            if mapped is None:
                return None
        end = start + _SIZE.unpack_from(mapped, start - _SIZE.size)[0]
        if end > len(mapped):  # its beginning was in the page that ended the map
            mapped = self._map(number, end)
            if mapped is None:
                return None
        return mapped[start:end]

    def close(self) -> None:
        """Close all."""
        for mapped in self._maps.values():
            if mapped is not None:
                mapped.close()
        self._maps.clear()

    def _map(self, number: int, least_bytes: int) -> mmap.mmap | None:
        """A file as it is now, if it has as many bytes."""
        if number in self._maps and self._maps[number] is None:
            return None
        self._close_removed()
        try:
            with _path(self._folder, number).open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            self._maps[number] = None  # nor will it ever be: it is older than its places
            return None
        except (OSError, ValueError):  # no descriptor is left, say; or the file is empty
            return None
        before, self._maps[number] = self._maps.get(number), mapped
        if before is not None:
            before.close()
        return mapped if len(mapped) >= least_bytes else None

    def _close_removed(self) -> None:
        # A file that is mapped occupies the disk, also when it has been removed.
        for number, mapped in list(self._maps.items()):
            if mapped is not None and not _path(self._folder, number).exists():
                mapped.close()
                del self._maps[number]


def _numbers(folder: Path) -> Iterator[int]:
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        yield int(path.stem, 16)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06x}{_SUFFIX}"


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
