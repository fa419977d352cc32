"""Parquet files that hold little and stand for much, and such as break their decoder."""

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.cli.loading import parquet_rows
from hedgerow.gateway.cli.loading.lines import Line
from hedgerow.gateway.cli.loading.parquet_rows import ParquetBounds, ParquetRows

pa = pytest.importorskip("pyarrow", reason="NEEDS PYARROW, AN EXTRA")
pq = pytest.importorskip("pyarrow.parquet")

pytestmark = pytest.mark.integration

BOUNDS = ParquetBounds(1_048_576, 64)


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    """Write a table as Parquet."""
    pq.write_table(pa.table(columns), path, compression="zstd", **options)
    return path


def read(path: Path, bounds: ParquetBounds = BOUNDS) -> list[Line]:
    """Every row."""
    with path.open("rb") as file, ParquetRows(file, path.name, "id", bounds) as rows:
        lines = list(rows)
        assert rows.number == rows.total == len(lines)
        return lines


def repeated(value: str, times: int) -> Any:
    """A column of the same value, which Parquet keeps once."""
    indices = pa.array([0] * times, pa.int32())
    return pa.DictionaryArray.from_arrays(indices, pa.array([value]))


def test_a_value_that_is_repeated_is_held_for_a_few_rows_at_once(tmp_path: Path) -> None:
    """Rows of 1 MB each, 100 MB in all, come out of a file of some kilobytes."""
    ids = [str(number) for number in range(100)]
    path = write(tmp_path / "x.parquet", {"id": ids, "text": repeated("x" * 1_000_000, 100)})
    assert path.stat().st_size < 10_000
    lines = read(path)
    assert all(not line.reason and len(line.document) > 1_000_000 for line in lines)


def test_a_row_that_is_too_large_is_rejected_and_the_next_one_read(tmp_path: Path) -> None:
    """A row's size is looked at before it becomes Python's and JSON's."""
    texts = ["a", "x" * 20_000_000, "b"]
    lines = read(write(tmp_path / "x.parquet", {"id": ["1", "2", "3"], "text": texts}))
    assert [bool(line.reason) for line in lines] == [False, True, False]
    assert lines[1].name == "row 2"
    assert "is longer than 1048576 bytes" in lines[1].reason


def test_a_list_that_takes_no_room_in_arrow_is_rejected(tmp_path: Path) -> None:
    """Millions of nulls, a run length in the file, cost their row and not the process."""
    values = pa.nulls(8_000_000, pa.null())
    lists = pa.ListArray.from_arrays([0, 0, 8_000_000, 8_000_000], values)
    path = write(tmp_path / "x.parquet", {"id": ["1", "2", "3"], "list": lists})
    assert path.stat().st_size < 10_000
    lines = read(path, BOUNDS._replace(memory_mb=96))
    assert [bool(line.reason) for line in lines] == [False, True, False]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="THE BOUND IS LINUX'S")
def test_a_page_that_is_too_large_to_decode_refuses_the_file(tmp_path: Path) -> None:
    """What cannot be decoded in parts ends with an error that names the row and the option."""
    texts = ["x" * 100_000_000]
    path = write(tmp_path / "x.parquet", {"id": ["1"], "text": texts}, use_dictionary=False)
    assert path.stat().st_size < 100_000
    with pytest.raises(BadRequestError, match=r"than row 0: .* 64 MB .*--parquet-memory-mb"):
        read(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="THE BOUND IS LINUX'S")
def test_rows_that_do_not_fit_together_are_decoded_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a batch takes too much, the reading goes on after the last row, and repeats none."""
    monkeypatch.setattr(parquet_rows, "BATCH_ROWS", (64, 1))
    ids = [str(number) for number in range(140)]
    texts = repeated("x" * 4_000_000, 40).cast(pa.string())
    few = pa.array(["small"] * 100)
    text = pa.chunked_array([few, texts])
    path = write(tmp_path / "x.parquet", {"id": ids, "text": text}, row_group_size=70)
    lines = read(path)
    assert [line.number for line in lines] == [*range(1, 141)]
    assert [bool(line.reason) for line in lines] == [False] * 100 + [True] * 40
    assert [line.document for line in lines[:100]] == [
        b'{"text":"small","id":"%d"}' % number for number in range(100)
    ]


def test_metadata_of_any_length_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """A footer that says it is longer than the bound, or than the file, is not read."""
    for size, claimed in ((40_000_000, 30_000_000), (100, 1000), (100, 2**32 - 1)):
        path = tmp_path / "x.parquet"
        with path.open("wb") as file:
            file.write(b"PAR1")
            file.truncate(size)
            file.seek(size - 8)
            file.write(struct.pack("<I", claimed) + b"PAR1")
        with pytest.raises(BadRequestError, match=f"{claimed} bytes long"):
            read(path)


@pytest.mark.parametrize("raw", [b"", b"PAR1", b"PAR1" + b"\0" * 8 + b"PAR1", os.urandom(500)])
def test_what_is_no_parquet_is_refused(tmp_path: Path, raw: bytes) -> None:
    """A file of another form ends with one error, and leaves no process."""
    path = tmp_path / "x.parquet"
    path.write_bytes(raw)
    with pytest.raises(BadRequestError, match=r"x\.parquet cannot be read"):
        read(path)


def test_a_damaged_page_refuses_the_file(tmp_path: Path) -> None:
    """Bytes that do not decompress end with an error that names the file."""
    ids = [str(number) for number in range(50_000)]
    path = write(tmp_path / "x.parquet", {"id": ids}, use_dictionary=False)
    raw = bytearray(path.read_bytes())
    raw[1000:2000] = b"\xff" * 1000
    path.write_bytes(bytes(raw))
    with pytest.raises(BadRequestError, match=r"x\.parquet cannot be read"):
        read(path)


def test_text_that_is_not_utf8_is_rejected_by_its_row(tmp_path: Path) -> None:
    """Arrow's strings may hold any bytes; a row of them is no document."""
    raw = pa.array([b"a", b"\xff\xfe", b"c"])
    text = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    lines = read(write(tmp_path / "x.parquet", {"id": ["1", "2", "3"], "text": text}))
    assert [line.reason for line in lines] == ["", "is not UTF-8 text", ""]


def test_rows_without_a_form_in_json_are_rejected_alone(tmp_path: Path) -> None:
    """Bytes, and a missing id, are reported with their row; the others are read."""
    path = write(
        tmp_path / "x.parquet",
        {"id": ["1", None, "3"], "raw": pa.array([b"x", None, None], pa.binary())},
    )
    lines = read(path)
    assert [line.reason for line in lines] == [
        "contains bytes, which JSON cannot represent",
        "id: is missing",
        "",
    ]
    assert [line.name for line in lines] == ["row 1", "row 2", "row 3"]


def test_the_decoder_ends_with_its_reader(tmp_path: Path) -> None:
    """A load that stops amid the file leaves no process behind."""
    path = write(tmp_path / "x.parquet", {"id": [str(number) for number in range(100_000)]})
    with path.open("rb") as file, ParquetRows(file, "x", "id", BOUNDS) as rows:
        next(iter(rows))
        process = rows._process
    assert process.returncode is not None
