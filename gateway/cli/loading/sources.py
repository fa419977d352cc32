"""Reads documents: .jsonl, .ndjson, .json, .csv, .parquet, .gz of those, folders, standard input.

No source is read into memory as a whole: only a line, a row, a few pages of Parquet, or one text
file at a time, each of bounded size. A source may be of any size, compressed or not.
"""

import gzip
import io
import os
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Literal

from pydantic_core import from_json, to_json

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.cli.loading.csv_rows import Row, csv_rows
from hedgerow.gateway.cli.loading.folder_files import Entry, FolderFiles
from hedgerow.gateway.cli.loading.json_values import json_values
from hedgerow.gateway.cli.loading.lines import DEFAULT_MAX_BYTES, Line, bounded, too_long, with_id
from hedgerow.gateway.cli.loading.parquet_rows import DEFAULT_MEMORY_MB, ParquetBounds, ParquetRows

KNOWN_FORMS: Final = (
    ".jsonl, .ndjson, .json, .csv, .parquet, .gz of those, a folder of text files, or -"
)
_QUOTED_BYTES: Final = 200
_COPIED_BYTES: Final = 1024 * 1024
# A file that is unpacked onto a disk leaves at least this much of it free.
_SPARED_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a source.

    Attributes:
        id_field: name of the field that holds the documents' ids.
        fields: field → type, as far as known; needed only for CSV, which has no types.
        max_bytes: the largest document, as JSON; a larger one is rejected, and not kept in memory.
        parquet_memory_mb: most memory for decoding Parquet, in MB (Linux only).
        follow_links: whether to follow links in a folder.
    """

    id_field: str = "id"
    fields: Mapping[str, str] = field(default_factory=dict)
    max_bytes: int = DEFAULT_MAX_BYTES
    parquet_memory_mb: int = DEFAULT_MEMORY_MB
    follow_links: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """Documents, and how far they have been read.

    Attributes:
        lines: the documents, iterable once.
        position: returns how many units were read.
        total: how many units there are; None if unknown.
        unit: the unit, in the plural.
    """

    lines: Iterator[Line]
    position: Callable[[], int]
    total: int | None
    unit: Literal["bytes", "rows", "files"]


@contextmanager
def open_source(name: str, reading: Reading | None = None) -> Iterator[Source]:
    """Open a source by its name.

    Args:
        name: a path, or `-` for NDJSON on standard input, compressed or not.
        reading: how to read it.

    Raises:
        BadRequestError: there is no such file, its format is unknown, or reading it failed.
        ConfigurationError: reading it needs a package that is not installed.
    """
    reading = reading or Reading()
    with ExitStack() as opened:
        if name == "-":
            lines = _json_lines(_maybe_gzip(sys.stdin.buffer), "standard input", reading.max_bytes)
            yield Source(_with_id_field(lines, reading), lambda: 0, None, "bytes")
            return
        path = Path(name)
        if path.is_dir():
            with _readable(name):
                folder = FolderFiles(path, follow_links=reading.follow_links)
            yield _folder_source(opened.enter_context(folder), reading)
            return
        suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
        is_compressed = suffixes[-1:] == [".gz"]
        form = "".join(suffixes[:-1][-1:] if is_compressed else suffixes[-1:])
        raw = opened.enter_context(_open_regular(path))
        total = os.fstat(raw.fileno()).st_size
        stream: IO[bytes] = raw
        if is_compressed:
            stream = opened.enter_context(_gunzip(raw))
        match form:
            case ".jsonl" | ".ndjson":
                lines = _json_lines(stream, name, reading.max_bytes)
                yield Source(_with_id_field(lines, reading), raw.tell, total, "bytes")
            case ".json":
                values = _json_values(stream, name, reading.max_bytes)
                yield Source(_with_id_field(values, reading), raw.tell, total, "bytes")
            case ".csv":
                rows = csv_rows(stream, reading.id_field, reading.fields, reading.max_bytes)
                yield Source(_csv_lines(rows, reading), raw.tell, total, "bytes")
            case ".parquet":
                if is_compressed:  # Parquet is read from its end, so it needs a seekable file
                    unpacked = opened.enter_context(tempfile.TemporaryFile())
                    with _readable(name):
                        _unpack(stream, unpacked)
                    stream = unpacked
                bounds = ParquetBounds(reading.max_bytes, reading.parquet_memory_mb)
                parquet = ParquetRows(stream, name, reading.id_field, bounds)
                found = opened.enter_context(parquet)
                yield Source(iter(found), lambda: found.number, found.total, "rows")
            case _:
                raise BadRequestError("SOURCE", f"{name} is not {KNOWN_FORMS}")


def _open_regular(path: Path) -> IO[bytes]:
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BadRequestError("SOURCE", f"there is no file or folder {path}") from None
    except OSError as error:
        raise BadRequestError("SOURCE", f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadRequestError("SOURCE", f"{path} is neither a regular file nor a folder")
    return os.fdopen(descriptor, "rb")


def document_source(documents: Iterable[Mapping[str, Any]]) -> Source:
    """Make a source of a program's documents."""
    numbered = _Counted(documents)
    lines = (
        Line(number, to_json(document), place=str(document.get("id", f"document {number}")))
        for number, document in numbered
    )
    return Source(lines, lambda: numbered.number, None, "rows")


class _Counted:
    """Numbers items from 1; `number` is the last one's."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.number = 0
        self._items = items

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        for item in self._items:
            self.number += 1
            yield self.number, item


def _maybe_gzip(stream: Any) -> Any:
    return _gunzip(stream) if stream.peek(2)[:2] == b"\x1f\x8b" else stream


def _gunzip(stream: IO[bytes]) -> Any:
    return io.BufferedReader(gzip.GzipFile(fileobj=stream))


def _unpack(stream: IO[bytes], target: IO[bytes]) -> None:
    """Copy all of a stream to a file on a disk, unless that would fill it.

    Raises:
        OSError: the disk is full, or the stream breaks off.
    """
    while piece := stream.read(_COPIED_BYTES):
        disk = os.fstatvfs(target.fileno())
        if disk.f_bavail * disk.f_frsize < _SPARED_BYTES + len(piece):
            raise OSError(0, f"unpacking it would fill {tempfile.gettempdir()}")
        target.write(piece)
    target.flush()


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn errors in reading a source into a BadRequestError that names it."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise BadRequestError("SOURCE", f"{name} cannot be read further: {error}") from error


def _with_id_field(lines: Iterator[Line], reading: Reading) -> Iterator[Line]:
    return lines if reading.id_field == "id" else _with_ids(lines, reading)


def _json_values(stream: IO[bytes], name: str, max_bytes: int) -> Iterator[Line]:
    """Yield the items of an array, or objects one after another, unparsed."""
    with _readable(name):
        for value in json_values(stream, max_bytes):
            line = Line(value.number, value.text, place=f"item {value.number}")
            if value.is_long:
                yield line._replace(document=value.text[:_QUOTED_BYTES], reason=too_long(max_bytes))
            elif not value.is_whole:
                yield line._replace(reason="is cut off: the file ends before it does")
            else:
                yield line


def _json_lines(stream: IO[bytes], name: str, max_bytes: int) -> Iterator[Line]:
    """Yield lines unparsed: the gateway validates them."""
    number = 0
    most = max_bytes + 2  # with the end of the line
    with _readable(name):
        while raw := stream.readline(most):
            number += 1
            if len(raw) == most and not raw.endswith(b"\n"):
                start = raw[:_QUOTED_BYTES]
                while raw and not raw.endswith(b"\n"):
                    raw = stream.readline(most)
                yield Line(number, start, too_long(max_bytes))
                continue
            line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if line := line.strip():
                yield bounded(Line(number, line), max_bytes)


def _with_ids(lines: Iterable[Line], reading: Reading) -> Iterator[Line]:
    """Move each document's id to the field `id`."""
    for line in lines:
        if line.reason:
            yield line
            continue
        try:
            document = from_json(line.document)
        except ValueError as error:
            yield line._replace(reason=f"is not JSON: {error}")
            continue
        yield bounded(with_id(line, document, reading.id_field), reading.max_bytes)


def _csv_lines(rows: Iterable[Row], reading: Reading) -> Iterator[Line]:
    for number, document, reason in rows:
        line = Line(number, to_json(document), reason)
        made = line if reason else with_id(line, document, reading.id_field)
        yield bounded(made, reading.max_bytes)


def _folder_source(folder: FolderFiles, reading: Reading) -> Source:
    """Make a source of every file under a folder, except hidden ones."""
    entries = _Counted(folder.entries())

    def lines() -> Iterator[Line]:
        for number, entry in entries:
            yield _text_file(number, folder, entry, reading.max_bytes)

    total = sum(1 for _ in folder.entries())
    return Source(lines(), lambda: entries.number, total, "files")


def _text_file(number: int, folder: FolderFiles, entry: Entry, max_bytes: int) -> Line:
    name = entry.path.encode("utf-8", "replace").decode()
    is_utf8 = name == entry.path
    line = Line(number, to_json({"id": name}), entry.reason, place=name)
    if entry.reason or not is_utf8:
        return line._replace(reason=entry.reason or "has a name that is not UTF-8")
    try:
        with os.fdopen(folder.open(entry), "rb") as file:
            raw = file.read(max_bytes + 1)
        text = raw.decode("utf-8-sig") if len(raw) <= max_bytes else ""
    except OSError as error:
        return line._replace(reason=f"cannot be read: {error.strerror}")
    except ValueError:
        return line._replace(reason="is not UTF-8 text")
    if "\0" in text:
        return line._replace(reason="is not a text file")
    document = to_json({"id": name, "path": name, "text": text})
    if max(len(raw), len(document)) > max_bytes:
        return line._replace(reason=too_long(max_bytes))
    return line._replace(document=document)
