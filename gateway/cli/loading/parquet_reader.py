"""Decodes a Parquet file in a separate process with limited memory.

A few hundred bytes of Parquet can stand for gigabytes: a value that a dictionary repeats, a list of
nulls as a run length, a compressed page. The metadata cannot be trusted, so the size of a page or
row is known only after it has been decoded. The separate process keeps a lack of memory, or a crash
of the decoder, from ending anything else.

    standard input    the file, which must be seekable
    the argument      a `Task` as JSON
    standard output   a line each: # rows in the file, + document, - [reason, text of the row],
                      ! why the file cannot be read, and . at the end
"""

import json
import math
import os
import resource
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final

from pydantic_core import to_json

from hedgerow.gateway.cli.loading.lines import Line, bounded, too_long, with_id

MAX_FOOTER_BYTES: Final = 16 * 1024 * 1024
MAX_COLUMNS: Final = 10_000
# A batch that is larger becomes Python objects row by row.
_WHOLE_BATCH_BYTES: Final = 2 * 1024 * 1024
_BUFFER_BYTES: Final = 65_536
_QUOTED_CHARS: Final = 200
# What Arrow raises, of texts, of dates that Python does not have, of unknown time zones.
_UNCONVERTIBLE: Final = (MemoryError, ValueError, ArithmeticError, LookupError)
_TOO_MUCH: Final = "takes more memory than --parquet-memory-mb allows"


@dataclass(frozen=True, slots=True)
class Task:
    """What to decode.

    Attributes:
        id_field: the column with the ids.
        max_bytes: the largest document.
        memory_bytes: most memory for decoding, in addition to the program itself (Linux only).
        batch_rows: rows that are decoded at once.
        skip: rows that are skipped.
    """

    id_field: str
    max_bytes: int
    memory_bytes: int
    batch_rows: int
    skip: int

    def to_json(self) -> str:
        """Encode it as the program's argument."""
        return json.dumps(asdict(self))


def read(task: Task, source: IO[bytes], target: IO[bytes]) -> None:
    """Write every row to `target`; imports pyarrow.

    Raises:
        MemoryError: a batch of rows takes more memory than the limit.
    """
    import pyarrow as pa  # noqa: PLC0415 - an optional extra

    # The system's allocator takes no more than is asked for, so the limit is reached later.
    pa.set_memory_pool(pa.system_memory_pool())
    pa.set_io_thread_count(1)
    bound_memory(task.memory_bytes)
    try:
        file = _open(source)
        target.write(b"#%d\n" % file.metadata.num_rows)
        target.flush()
        for line in _lines(file, task):
            if line.reason:
                rejected = [line.reason, line.document.decode(errors="replace")]
                target.write(b"-" + to_json(rejected) + b"\n")
            else:
                target.write(b"+" + line.document + b"\n")
        target.write(b".\n")
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, MemoryError | BrokenPipeError):
            raise
        target.write(b"!" + to_json(str(error)[:_QUOTED_CHARS]) + b"\n")


def _open(source: IO[bytes]) -> Any:
    from pyarrow import parquet  # noqa: PLC0415 - as above

    check_footer(source)
    # Read by pages: a column of a row group may be larger than memory.
    file = parquet.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER_BYTES)
    if file.metadata.num_columns > MAX_COLUMNS:
        raise ValueError(f"it has more than {MAX_COLUMNS} columns")
    return file


def check_footer(source: IO[bytes]) -> None:
    """Check the length of the metadata before they are read.

    Raises:
        ValueError: they are too long, or longer than the file.
    """
    size = source.seek(0, os.SEEK_END)
    if size >= 12:
        source.seek(-8, os.SEEK_END)
        (num_bytes,) = struct.unpack("<I", source.read(4))
        if num_bytes > min(MAX_FOOTER_BYTES, size):
            raise ValueError(
                f"its metadata is {num_bytes} bytes long; the limit is {MAX_FOOTER_BYTES}"
            )
    source.seek(0)


def bound_memory(num_bytes: int) -> None:
    """Limit the further memory of this process, where the system supports it."""
    with suppress(OSError, ValueError):
        status = Path("/proc/self/status").read_text(encoding="ascii")
        taken = next(line for line in status.splitlines() if line.startswith("VmData:"))
        limit = int(taken.split()[1]) * 1024 + num_bytes
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _lines(file: Any, task: Task) -> Iterator[Line]:
    groups, number, skip = _from(file.metadata, task.skip)
    if not groups:
        return
    # No Arrow representation takes more than eight bytes for a byte of JSON.
    max_row_bytes = 8 * (task.max_bytes + file.metadata.num_columns)
    schema = _convertible(file.schema_arrow)
    for batch in file.iter_batches(task.batch_rows, row_groups=groups, use_threads=False):
        passed = min(skip, batch.num_rows)
        skip, number = skip - passed, number + passed
        for row in _rows(batch.slice(passed), schema, max_row_bytes, too_long(task.max_bytes)):
            number += 1
            yield _line(number, row, task)


def _from(metadata: Any, skip: int) -> tuple[list[int], int, int]:
    """Return the remaining row groups, the rows before them, and the rows to skip in the first."""
    before = 0
    for group in range(metadata.num_row_groups):
        num_rows = metadata.row_group(group).num_rows
        if before + num_rows > skip:
            return [*range(group, metadata.num_row_groups)], before, skip - before
        before += num_rows
    return [], before, 0


def _rows(
    batch: Any, schema: Any, max_row_bytes: int, too_long: str
) -> Iterator[dict[str, Any] | str]:
    """Yield the rows as Python objects; for a row that cannot be converted, the reason."""
    if batch.nbytes <= _WHOLE_BATCH_BYTES:
        with suppress(*_UNCONVERTIBLE):
            yield from _objects(batch, schema)
            return
    for number in range(batch.num_rows):
        row = batch.slice(number, 1)
        try:
            yield too_long if row.nbytes > max_row_bytes else _objects(row, schema)[0]
        except MemoryError:
            yield _TOO_MUCH
        except UnicodeDecodeError:
            yield "is not UTF-8 text"
        except _UNCONVERTIBLE as error:
            yield f"cannot be converted: {error}"


def _objects(batch: Any, schema: Any) -> list[dict[str, Any]]:
    rows = batch if schema is None else batch.cast(schema, safe=False)
    found: list[dict[str, Any]] = rows.to_pylist()
    return found


def _convertible(schema: Any) -> Any:
    """Return the schema with types whose values become Python objects; None if all do."""
    found = schema
    for at, field in enumerate(schema):
        if (kind := _convertible_type(field.type)) != field.type:
            found = found.set(at, field.with_type(kind))
    return None if found is schema else found


def _convertible_type(kind: Any) -> Any:
    """Return a type with times to the microsecond, as Python's are, and in a zone that is known."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    is_a = pa.types
    if is_a.is_timestamp(kind):
        return pa.timestamp("us" if kind.unit == "ns" else kind.unit, _known_zone(kind.tz))
    if is_a.is_time64(kind):
        return pa.time64("us")
    if is_a.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    return _convertible_nested(kind) if is_a.is_nested(kind) else kind


def _convertible_nested(kind: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - as above

    is_a = pa.types
    if is_a.is_struct(kind):
        return pa.struct([_convertible_field(field) for field in kind])
    if is_a.is_map(kind):
        return pa.map_(_convertible_field(kind.key_field), _convertible_field(kind.item_field))
    if is_a.is_fixed_size_list(kind):
        return pa.list_(_convertible_field(kind.value_field), kind.list_size)
    if is_a.is_list(kind):
        return pa.list_(_convertible_field(kind.value_field))
    # Arrow converts a list view to no other list view.
    if is_a.is_large_list(kind) or is_a.is_list_view(kind) or is_a.is_large_list_view(kind):
        return pa.large_list(_convertible_field(kind.value_field))
    return kind


def _convertible_field(field: Any) -> Any:
    return field.with_type(_convertible_type(field.type))


def _known_zone(name: str | None) -> str:
    """Return the time zone of a column; UTC if it has none, or one that this system does not know.

    Without a zone, a time would be no date of RFC 3339.
    """
    import pyarrow as pa  # noqa: PLC0415 - as above

    if name is None:
        return "UTC"
    try:
        pa.scalar(0, pa.timestamp("s", name)).as_py()
    except (ValueError, LookupError):
        return "UTC"
    return name


def _line(number: int, row: dict[str, Any] | str, task: Task) -> Line:
    place = f"row {number}"
    if isinstance(row, str):
        return Line(number, b"", row, place)
    try:
        document = {key: _plain(value) for key, value in row.items() if _is_there(value)}
        line = Line(number, to_json(document), place=place)
        return bounded(with_id(line, document, task.id_field), task.max_bytes)
    except (TypeError, ValueError) as error:
        return Line(number, str(row)[:_QUOTED_CHARS].encode(errors="replace"), str(error), place)
    except MemoryError:
        return Line(number, b"", _TOO_MUCH, place)


def _is_there(value: Any) -> bool:
    """Return whether a cell has a value; many writers mark missing values as NaN."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _plain(value: Any) -> Any:
    """Convert an Arrow value to a JSON value."""
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal():
            return float(value)
        case bytes():
            raise TypeError("contains bytes, which JSON cannot represent")
        case list() | tuple():  # a map is a list of pairs
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return value


def run() -> None:
    """Run the program."""
    with suppress(BrokenPipeError):
        read(Task(**json.loads(sys.argv[1])), sys.stdin.buffer, sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    run()
