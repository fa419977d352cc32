"""Rows of CSV (RFC 4180) as objects, whose values are given types since CSV has none."""

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, Final, NamedTuple

from common.errors import BadRequestError

ROWS_TO_GUESS_FROM: Final = 1000
MAX_CELL_CHARS: Final = 16 * 1024 * 1024

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")  # 007 is a code, not a number
_FLOAT: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BOOLEANS: Final = {"true": True, "false": False}


class Row(NamedTuple):
    """One row: its object, or what it says and why it is none.

    Attributes:
        number: the last line of the file that the row takes up, from 1.
        document: column → value, empty cells left out.
        reason: why it is not a document, or "".
    """

    number: int
    document: dict[str, Any]
    reason: str = ""


def csv_rows(stream: IO[bytes], id_field: str, fields: Mapping[str, str]) -> Iterator[Row]:
    """Read rows as objects.

    A column whose type `fields` does not say has the type that all its values among the first
    1000 rows fit: boolean, integer, float, else text. A value that does not fit its column's
    type stays text, for the gateway to reject.

    Args:
        stream: the file, UTF-8.
        id_field: the column of the ids, which stay text.
        fields: column → type, as far as known.

    Raises:
        BadRequestError: the header or a row is not CSV; names the line.
    """
    csv.field_size_limit(MAX_CELL_CHARS)
    # Escaped rather than refused, so that one bad byte costs one row and not the rest.
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _documents(csv.reader(text, strict=True), id_field, fields)
    finally:
        text.detach()  # else its end would close the stream, which is the caller's


def _documents(reader: Any, id_field: str, fields: Mapping[str, str]) -> Iterator[Row]:
    rows = _rows(reader)
    header = next(rows, None)
    if header is None:
        return
    columns = header[1]
    if "" in columns or len(set(columns)) < len(columns):
        raise BadRequestError("SOURCE", "line 1 must name each column, each differently")
    first = list(itertools.islice(rows, ROWS_TO_GUESS_FROM))
    types = {**_guess(columns, [cells for _, cells in first]), **fields, id_field: "text"}
    for number, cells in itertools.chain(first, rows):
        yield _row(number, columns, cells, types)


def _rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except (csv.Error, OSError, EOFError) as error:
        reason = f"cannot be read on after line {reader.line_num}: {error}"
        raise BadRequestError("SOURCE", reason) from error


def _row(number: int, columns: list[str], cells: list[str], types: Mapping[str, str]) -> Row:
    if any(_is_broken(cell) for cell in cells):
        return Row(number, {}, "is not UTF-8")
    document = {
        column: _typed(cell, types[column])
        for column, cell in zip(columns, cells, strict=False)
        if cell
    }
    if len(cells) != len(columns):
        reason = f"has {len(cells)} cells, and there are {len(columns)} columns"
        return Row(number, document, reason)
    return Row(number, document)


def _is_broken(cell: str) -> bool:
    return not cell.isascii() and any("\udc80" <= char <= "\udcff" for char in cell)


def _guess(columns: list[str], rows: Iterable[list[str]]) -> dict[str, str]:
    values: dict[str, list[str]] = {column: [] for column in columns}
    for cells in rows:
        for column, cell in zip(columns, cells, strict=False):
            if cell:
                values[column].append(cell)
    return {column: _type_of(found) for column, found in values.items()}


def _type_of(values: list[str]) -> str:
    if not values:
        return "text"
    if all(value.lower() in _BOOLEANS for value in values):
        return "boolean"
    if all(_INTEGER.fullmatch(value) for value in values):
        return "integer"
    if all(_FLOAT.fullmatch(value) for value in values):
        return "float"
    return "text"


def _typed(cell: str, kind: str) -> Any:
    match kind:
        case "boolean":
            return _BOOLEANS.get(cell.lower(), cell)
        case "integer" if _INTEGER.fullmatch(cell):
            return int(cell)
        case "float" if _FLOAT.fullmatch(cell):
            return float(cell)
        case _:
            return cell
