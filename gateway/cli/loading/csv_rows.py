"""Reads rows of CSV (RFC 4180) as objects, and infers types, since CSV has none."""

import contextlib
import csv
import io
import itertools
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, Final, NamedTuple

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.cli.loading.csv_records import RecordFeed, RecordTooLongError

ROWS_TO_GUESS_FROM: Final = 1000
CHARS_TO_GUESS_FROM: Final = 2 * 1024 * 1024  # a character may be a cell, of sixty bytes

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")  # 007 is a code, not a number
_FLOAT: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# Spreadsheets write these where the comma is the decimal point, or for "text".
_OTHER_SEPARATORS: Final = {"\t": "tabs", ";": "semicolons", "|": "vertical bars"}
_BOOLEANS: Final = {"true": True, "false": False}


class Row(NamedTuple):
    """One row: its object, or its text and why it is not a document.

    Attributes:
        number: the last line of the file that the row occupies, from 1.
        document: column → value, empty cells left out.
        reason: why it is not a document, or "".
    """

    number: int
    document: dict[str, Any]
    reason: str = ""


class _Record(NamedTuple):
    """One row as the parser gives it, or why it was skipped."""

    number: int
    cells: list[str]
    num_chars: int
    reason: str = ""


def csv_rows(
    stream: IO[bytes], id_field: str, fields: Mapping[str, str], max_chars: int
) -> Iterator[Row]:
    """Read rows as objects.

    If `fields` does not give a column's type, it is inferred from the first 1000 rows, or as many
    as 2 MiB hold: boolean, integer or float if all its values are of that type, else text. A value
    that does not fit its column's type stays text, and the gateway reports it.

    Args:
        stream: the file, UTF-8.
        id_field: the column of the ids, which stay text.
        fields: column → type, as far as known.
        max_chars: the longest row; a longer one is not a document, and is not kept in memory.

    Raises:
        BadRequestError: the header or a row is not CSV; names the line.
    """
    # A cell is no longer than its row. The parser's own limit holds for the process, and is lower.
    csv.field_size_limit(max(csv.field_size_limit(), max_chars))
    # Bad bytes are escaped rather than refused, so that one costs its row and not the rest.
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _documents(RecordFeed(text, max_chars), max_chars, id_field, fields)
    finally:
        with contextlib.suppress(ValueError):  # the caller has closed it already
            text.detach()  # else closing it would close the caller's stream


def _documents(
    feed: RecordFeed, max_chars: int, id_field: str, fields: Mapping[str, str]
) -> Iterator[Row]:
    records = _records(feed, max_chars)
    header = next(records, None)
    if header is None:
        return
    columns = header.cells
    if header.reason:
        raise BadRequestError("SOURCE", f"the header in line 1 {header.reason}")
    if any(_is_broken(column) for column in columns):
        raise BadRequestError("SOURCE", "the header in line 1 is not UTF-8")
    separator = _other_separator(columns[0]) if len(columns) == 1 else ""
    if separator and columns != [id_field]:
        reason = (
            f"has {separator} in line 1, and no comma; the columns of CSV are separated by commas"
        )
        raise BadRequestError("SOURCE", reason)
    if "" in columns or len(set(columns)) < len(columns):
        raise BadRequestError("SOURCE", "line 1 must give each column a name of its own")
    first = _first(records)
    types = {**_guess(columns, [record.cells for record in first]), **fields, id_field: "text"}
    for record in itertools.chain(first, records):
        yield _row(record, columns, types)


def _other_separator(header: str) -> str:
    """What separates columns in place of commas; "" if nothing known does."""
    return next((name for char, name in _OTHER_SEPARATORS.items() if char in header), "")


def _first(records: Iterator[_Record]) -> list[_Record]:
    """Return the records from which the types are inferred."""
    first: list[_Record] = []
    num_chars = 0
    while len(first) < ROWS_TO_GUESS_FROM and num_chars < CHARS_TO_GUESS_FROM:
        record = next(records, None)
        if record is None:
            break
        first.append(record)
        num_chars += record.num_chars
    return first


def _records(feed: RecordFeed, max_chars: int) -> Iterator[_Record]:
    reader = csv.reader(feed, strict=True)
    while True:
        feed.begin()
        begins_in = feed.line_number + 1
        try:
            cells = next(reader, None)
            if cells is None:
                return
            if cells:
                yield _Record(feed.line_number, cells, feed.num_chars)
        except RecordTooLongError:
            if not _skip(feed):
                raise _never_closed(begins_in) from None
            yield _Record(feed.line_number, [], 0, _too_long(max_chars, begins_in))
        except csv.Error as error:
            # The parser asks for a line after the last one only within quotes.
            raise _never_closed(begins_in) if feed.at_end else _broken_off(feed, error) from error
        except (OSError, EOFError, zlib.error) as error:
            raise _broken_off(feed, error) from error


def _never_closed(begins_in: int) -> BadRequestError:
    return BadRequestError("SOURCE", f"line {begins_in} has a quote that is never closed")


def _skip(feed: RecordFeed) -> bool:
    try:
        return feed.skip()
    except (OSError, EOFError, zlib.error) as error:
        raise _broken_off(feed, error) from error


def _broken_off(feed: RecordFeed, error: Exception) -> BadRequestError:
    return BadRequestError(
        "SOURCE", f"cannot be read further than line {feed.line_number}: {error}"
    )


def _too_long(max_chars: int, begins_in: int) -> str:
    return f"begins in line {begins_in} and is longer than {max_chars} characters"


def _row(record: _Record, columns: list[str], types: Mapping[str, str]) -> Row:
    number, cells = record.number, record.cells
    if record.reason:
        return Row(number, {}, record.reason)
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
