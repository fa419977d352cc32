"""Documents from files: .jsonl, .ndjson, .csv, .parquet, .gz of those, folders, standard input.

Nothing is read whole: what is in memory is a line, a row group of Parquet, or one text file.
"""

import gzip
import io
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple

from pydantic_core import from_json, to_json

from common.errors import BadRequestError, ConfigurationError
from gateway.csv_rows import Row, csv_rows

MAX_LINE_BYTES: Final = 16 * 1024 * 1024  # a gateway takes less; a longer line is not kept
KNOWN_FORMS: Final = ".jsonl, .ndjson, .csv, .parquet, .gz of those, a folder of text files, or -"


class Line(NamedTuple):
    """One document of a source, or why it is none.

    Attributes:
        number: the line, row or file, from 1.
        document: a JSON object on one line; what stands there, when it is none.
        reason: why it cannot be loaded, or "".
        place: what people call it by where the source has no lines: a path, an id, a row.
    """

    number: int
    document: bytes
    reason: str = ""
    place: str = ""

    @property
    def name(self) -> str:
        """What people find it by."""
        return self.place or f"line {self.number}"


@dataclass(frozen=True, slots=True)
class Source:
    """Documents, and how far the reading of them has got.

    Attributes:
        lines: the documents, once through.
        position: how many units were read.
        total: how many there are; None when nobody can know.
        unit: what is counted.
    """

    lines: Iterator[Line]
    position: Callable[[], int]
    total: int | None
    unit: Literal["bytes", "rows", "files"]


@contextmanager
def open_source(
    name: str, id_field: str = "id", fields: Mapping[str, str] | None = None
) -> Iterator[Source]:
    """Open a source by its name.

    Args:
        name: a path, or `-` for NDJSON on standard input, compressed or not.
        id_field: name of the field that holds the documents' ids.
        fields: field → type as far as they are known; only CSV, which has no types, needs them.

    Raises:
        BadRequestError: there is no such file, its form is unknown, or it cannot be read on.
        ConfigurationError: reading it needs a package that is not installed.
    """
    with ExitStack() as opened:
        if name == "-":
            yield _json_source(_maybe_gzip(sys.stdin.buffer), lambda: 0, None, id_field)
            return
        path = Path(name)
        if path.is_dir():
            yield _folder_source(path)
            return
        if not path.is_file():
            raise BadRequestError("SOURCE", f"there is no file or folder {name}")
        suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
        is_compressed = suffixes[-1:] == [".gz"]
        form = "".join(suffixes[:-1][-1:] if is_compressed else suffixes[-1:])
        raw = opened.enter_context(path.open("rb"))
        total = path.stat().st_size
        stream: IO[bytes] = raw
        if is_compressed:
            stream = opened.enter_context(_gunzip(raw))
        match form:
            case ".jsonl" | ".ndjson":
                yield _json_source(stream, raw.tell, total, id_field)
            case ".csv":
                rows = csv_rows(stream, id_field, fields or {})
                yield Source(_csv_lines(rows, id_field), raw.tell, total, "bytes")
            case ".parquet":
                if is_compressed:  # Parquet is read from its end: it needs a file to seek in
                    unpacked = opened.enter_context(tempfile.TemporaryFile())
                    with _readable(name):
                        shutil.copyfileobj(stream, unpacked)
                    stream = unpacked
                yield _parquet_source(stream, id_field, name)
            case _:
                raise BadRequestError("SOURCE", f"{name} is none of {KNOWN_FORMS}")


def document_source(documents: Iterable[Mapping[str, Any]]) -> Source:
    """Make a source of documents that a program makes."""
    numbered = _Counted(documents)
    lines = (
        Line(number, to_json(document), place=str(document.get("id", f"document {number}")))
        for number, document in numbered
    )
    return Source(lines, lambda: numbered.number, None, "rows")


class _Counted:
    """Numbers items from 1, and tells how many there were."""

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


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Say of a source that breaks off that it does."""
    try:
        yield
    except (OSError, EOFError) as error:
        raise BadRequestError("SOURCE", f"{name} cannot be read on: {error}") from error


def _json_source(
    stream: IO[bytes], position: Callable[[], int], total: int | None, id_field: str
) -> Source:
    lines = _json_lines(stream)
    if id_field != "id":
        lines = _with_ids(lines, id_field)
    return Source(lines, position, total, "bytes")


def _json_lines(stream: IO[bytes]) -> Iterator[Line]:
    """Yield lines as they are, for the gateway to judge."""
    name = str(getattr(stream, "name", "standard input"))
    number = 0
    with _readable(name):
        while raw := stream.readline(MAX_LINE_BYTES):
            number += 1
            if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
                start = raw[:200]
                while raw and not raw.endswith(b"\n"):
                    raw = stream.readline(MAX_LINE_BYTES)
                yield Line(number, start, f"is longer than {MAX_LINE_BYTES} bytes")
                continue
            line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if line := line.strip():
                yield Line(number, line)


def _with_ids(lines: Iterable[Line], id_field: str) -> Iterator[Line]:
    """Move each document's id to where the gateway looks for it."""
    for line in lines:
        if line.reason:
            yield line
            continue
        try:
            document = from_json(line.document)
        except ValueError as error:
            yield line._replace(reason=f"is not JSON: {error}")
            continue
        yield _with_id(line, document, id_field)


def _csv_lines(rows: Iterable[Row], id_field: str) -> Iterator[Line]:
    for number, document, reason in rows:
        line = Line(number, to_json(document), reason)
        yield line if reason else _with_id(line, document, id_field)


def _with_id(line: Line, document: Any, id_field: str) -> Line:
    if not isinstance(document, dict):
        return line._replace(reason="should be a JSON object")
    if id_field not in document:
        return line._replace(reason=f"{id_field}: is missing")
    found = document.pop(id_field)
    if isinstance(found, bool) or not isinstance(found, str | int):
        return line._replace(reason=f"{id_field}: should be a string or an integer")
    try:
        return line._replace(document=to_json({**document, "id": str(found)}))
    except ValueError as error:
        return line._replace(reason=f"cannot be JSON: {error}")


def _parquet_source(stream: IO[bytes], id_field: str, name: str) -> Source:
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - an extra, not always there
    except ImportError as error:
        raise ConfigurationError(
            "reading .parquet needs pyarrow, of the extra `parquet` (`make setup` installs it)"
        ) from error
    try:
        file = parquet.ParquetFile(stream)
    except (ArrowException, OSError) as error:
        raise BadRequestError("SOURCE", f"{name} cannot be read: {error}") from error

    rows = _Counted(row for batch in file.iter_batches(1024) for row in batch.to_pylist())

    def lines() -> Iterator[Line]:
        for number, row in rows:
            place = f"row {number}"
            try:
                document = {key: _plain(value) for key, value in row.items() if _is_there(value)}
            except TypeError as error:
                yield Line(number, str(row)[:200].encode(), str(error), place)
                continue
            yield _with_id(Line(number, to_json(document), place=place), document, id_field)

    return Source(lines(), lambda: rows.number, file.metadata.num_rows, "rows")


def _is_there(value: Any) -> bool:
    """Whether a cell holds something; many writers mark what is missing as NaN."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _plain(value: Any) -> Any:
    """Turn a value of Arrow's into one of JSON's."""
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal():
            return float(value)
        case bytes():
            raise TypeError("holds bytes, which JSON has no form for")
        case list():
            return [_plain(one) for one in value]
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case _:
            return value


def _folder_source(folder: Path) -> Source:
    """Every file under a folder, hidden ones aside, in the order of their paths."""
    paths = _Counted(_files(folder))

    def lines() -> Iterator[Line]:
        for number, path in paths:
            yield _text_file(number, path, path.relative_to(folder).as_posix())

    return Source(lines(), lambda: paths.number, sum(1 for _ in _files(folder)), "files")


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent) / name
            if not name.startswith(".") and path.is_file():
                yield path


def _text_file(number: int, path: Path, relative: str) -> Line:
    name = relative.encode("utf-8", "replace").decode()
    line = Line(number, to_json({"id": name}), place=name)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_LINE_BYTES + 1)
        if len(raw) > MAX_LINE_BYTES:
            return line._replace(reason=f"is larger than {MAX_LINE_BYTES} bytes")
        text = raw.decode("utf-8-sig")
        if "\0" in text:
            return line._replace(reason="is not a text file")
        return line._replace(document=to_json({"id": relative, "path": relative, "text": text}))
    except OSError as error:
        return line._replace(reason=f"cannot be read: {error.strerror}")
    except ValueError:
        return line._replace(reason="is not UTF-8 text")
