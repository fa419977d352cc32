"""Files that hold little and stand for much: what is read of them is bounded before it is held."""

import csv
import gzip
import io
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.cli.loading.csv_rows import csv_rows
from hedgerow.gateway.cli.loading.sources import Reading, open_source

pytestmark = pytest.mark.integration

MAX_CHARS = 40
SMALL = Reading(max_bytes=1000)


NUM_PIECES = 100  # of up to 1 MB: more than fits in this memory


def in_little_memory(path: Path, megabytes: int = 64) -> list[str]:
    """Read a source in a process that may take so much more; its lines' names and reasons."""
    if sys.platform != "linux":
        pytest.skip("THE LIMIT ON A PROCESS'S MEMORY IS LINUX'S")
    program = textwrap.dedent(f"""
        import resource, sys
        from pathlib import Path
        from hedgerow.gateway.cli.loading.parquet_reader import bound_memory
        from hedgerow.gateway.cli.loading.sources import open_source
        bound_memory({megabytes} * 1024 * 1024)
        with open_source(sys.argv[1]) as source:
            for line in source.lines:
                print(line.name, line.reason[:100] or "is good")
    """)
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def compressed(path: Path, head: bytes, piece: bytes, times: int, tail: bytes) -> Path:
    """Write a .gz of a head, the same piece many times, and a tail."""
    with gzip.open(path, "wb", 1) as file:
        file.write(head)
        for _ in range(times):
            file.write(piece)
        file.write(tail)
    return path


@pytest.mark.parametrize(
    "piece", [b"x" * 1_000_000, b"," * 1_000_000, b'"",' * 10_000, b"\\\r" * 8_000]
)
def test_a_csv_row_of_any_length_costs_a_row_and_little_memory(
    tmp_path: Path, piece: bytes
) -> None:
    """A row of up to 100 MB is rejected by its line, and the rows around it are documents."""
    quote = b'"' if b"\r" in piece else b""
    head, tail = b"id,text\n1,a\n2," + quote, quote + b"\n3,b\n"
    path = compressed(tmp_path / "rows.csv.gz", head, piece, NUM_PIECES, tail)
    first, long, last = in_little_memory(path)
    assert first == "line 2 is good"
    assert "begins in line 3 and is longer than 1048576 characters" in long
    assert last.endswith("is good")


def test_a_header_of_any_length_is_refused(tmp_path: Path) -> None:
    """A first line without an end is refused before it is held."""
    path = compressed(tmp_path / "rows.csv.gz", b"id", b",column" * 100_000, 10, b"\n1\n")
    with pytest.raises(BadRequestError, match=r"the header in line 1 .* longer"):
        read_all(path)


def test_large_rows_do_not_add_up(tmp_path: Path) -> None:
    """What the types are guessed from is bounded by its size as well as by its rows."""
    row = b"1," + b"x" * 1_000_000 + b"\n"
    path = compressed(tmp_path / "rows.csv.gz", b"id,text\n", row, NUM_PIECES, b"")
    good = [f"line {number} is good" for number in range(2, NUM_PIECES + 2)]
    assert in_little_memory(path) == good


@pytest.mark.parametrize("rows_after_it", [0, 10, 1000])
def test_a_quote_that_is_never_closed_is_named(tmp_path: Path, rows_after_it: int) -> None:
    """The rest of the file would be one cell, so that the file is refused, with the line.

    It does not matter whether that cell is longer than a row may be.
    """
    path = tmp_path / "rows.csv"
    path.write_text('id,text\n1,a\n2,"b\n' + "3,c\n" * rows_after_it)
    with pytest.raises(BadRequestError, match="line 3 has a quote that is never closed"):
        read_all(path, SMALL)


_cell = st.text(st.sampled_from('ab,"\n\r \u00e9'), max_size=30)
_rows = st.lists(st.tuples(_cell, _cell), max_size=12)


@given(rows=_rows, end=st.sampled_from(["\n", "\r\n"]))
@example(rows=[("a" * 30, '"' * 20), ("b", "c")], end="\r\n")
@settings(max_examples=150, deadline=None)
def test_rows_over_the_bound_are_rejected_and_all_others_read(
    rows: list[tuple[str, str]], end: str
) -> None:
    """Exactly the rows that Python writes with more characters than the bound are rejected."""
    if end == "\n":  # then Python does not quote the other end of a line
        rows = [(a.replace("\r", "x"), b.replace("\r", "x")) for a, b in rows]
    texts = [written(("1", *row), end) for row in rows]
    stream = io.BytesIO((written(("id", "a", "b"), end) + "".join(texts)).encode())
    found = list(csv_rows(stream, "id", {"a": "text", "b": "text"}, MAX_CHARS))
    assert [bool(one.reason) for one in found] == [len(text) > MAX_CHARS for text in texts]
    for row, one in zip(rows, found, strict=True):
        if not one.reason:
            cells = zip(("id", "a", "b"), ("1", *row), strict=True)
            assert one.document == {name: cell for name, cell in cells if cell}


def written(row: tuple[str, ...], end: str) -> str:
    """Write a row as Python's csv module does."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end).writerow(row)
    return text.getvalue()


def test_lines_are_counted_across_a_row_that_is_too_long(tmp_path: Path) -> None:
    """Later rows keep their numbers, whichever way lines end."""
    for end in (b"\n", b"\r\n", b"\r"):
        path = tmp_path / "rows.csv"
        long = b'2,"' + (b"x" * 50 + end) * 3000 + b'"'
        path.write_bytes(end.join([b"id,text", b"1,a", long, b"3,b", b""]))
        lines = read_all(path, SMALL)
        assert [line.split(":")[0] for line in lines] == ["line 2", "line 3003", "line 3004"]


@pytest.mark.parametrize("limit", [1000, 1001])
def test_a_json_line_may_be_as_long_as_the_bound(tmp_path: Path, limit: int) -> None:
    """A document of the largest size is read, with either line end; a byte more is rejected."""
    document = b'{"id": "' + b"x" * 990 + b'"}'
    assert len(document) == 1000
    path = tmp_path / "lines.jsonl"
    path.write_bytes(document + b"\r\n" + document + b"\n" + document.replace(b"x", b"xx", 1))
    lines = read_all(path, Reading(max_bytes=limit))
    assert [line.endswith("is good") for line in lines] == [True, True, limit == 1001]


def test_a_json_line_of_any_length_costs_a_line_and_little_memory(tmp_path: Path) -> None:
    """A compressed line of 100 MB is rejected by number; blank ones cost nothing."""
    path = compressed(
        tmp_path / "lines.jsonl.gz",
        b'{"id": "1"}\n\n',
        b"[" * 1_000_000,
        NUM_PIECES,
        b'\n{"id": "2"}\n',
    )
    first, long, last = in_little_memory(path)
    assert (first, last) == ("line 1 is good", "line 4 is good")
    assert long.startswith("line 3 is longer than 1048576 bytes")


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "9" * 5000, '"\\ud800"', "1e999"])
def test_a_document_that_is_hard_to_read_is_rejected_alone(tmp_path: Path, text: str) -> None:
    """Deep nesting, endless numbers and half characters cost their line, with another id field."""
    path = tmp_path / "lines.jsonl"
    path.write_text(f'{{"key": "1", "x": {text}}}\n{{"key": "2"}}\n')
    lines = read_all(path, Reading("key"))
    assert lines[-1] == "line 2: is good"


def test_a_compressed_file_that_is_damaged_is_refused(tmp_path: Path) -> None:
    """Bytes in the middle that are no deflate stream end the reading with an error of ours."""
    lines = b"".join(b'{"id": "%d"}\n' % number for number in range(50_000))
    for name, whole in (("lines.jsonl.gz", lines), ("rows.csv.gz", b"id,n\n" + lines)):
        raw = bytearray(gzip.compress(whole))
        raw[len(raw) // 2 : len(raw) // 2 + 64] = b"\xff" * 64
        path = tmp_path / name
        path.write_bytes(bytes(raw))
        with pytest.raises(BadRequestError, match="cannot be read further"):
            read_all(path)


def test_unpacking_stops_before_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .parquet.gz that would fill the disk that it is unpacked to is refused."""
    statistics = os.fstatvfs(0)
    nearly_full = (*statistics[:3], 0, 0, *statistics[5:])
    monkeypatch.setattr(os, "fstatvfs", lambda _: os.statvfs_result(nearly_full))
    path = compressed(tmp_path / "x.parquet.gz", b"PAR1", b"0" * 1_000_000, 3, b"")
    with pytest.raises(BadRequestError, match=f"would fill {tempfile.gettempdir()}"):
        read_all(path)


def read_all(path: Path, reading: Reading | None = None) -> list[str]:
    """The names of a source's lines, each with why it is none."""
    with open_source(str(path), reading) as source:
        return [f"{line.name}: {line.reason or 'is good'}" for line in source.lines]
