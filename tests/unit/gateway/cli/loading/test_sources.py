"""Documents from files of every form, good and bad."""

import csv
import gzip
import io
import json
import random
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.errors import BadRequestError, ConfigurationError
from hedgerow.common.fields.field_types import FieldType, mismatch
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.gateway.cli.loading.csv_rows import csv_rows
from hedgerow.gateway.cli.loading.lines import DEFAULT_MAX_BYTES
from hedgerow.gateway.cli.loading.sources import Reading, document_source, open_source


def read(path: Path | str, id_field: str = "id", fields: Any = None) -> list[Any]:
    """Return (number, document) of good lines and (number, reason) of bad ones."""
    with open_source(str(path), Reading(id_field, fields or {})) as source:
        return [(line.number, line.reason or json.loads(line.document)) for line in source.lines]


def test_the_largest_document_is_the_gateway_s() -> None:
    """What a gateway would refuse by default is not sent to it."""
    assert LimitSettings().max_document_bytes == DEFAULT_MAX_BYTES


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".JSONL", ".jsonl.gz"])
def test_json_lines_are_handed_on_as_they_are(tmp_path: Path, suffix: str) -> None:
    """Lines keep their bytes and their numbers; blank ones and a byte order mark go."""
    raw = b'\xef\xbb\xbf{"id": "1", "n": 1.0}\r\n\n  {"id":  "2"}  \nnot json\n{"id": "3"}'
    path = tmp_path / f"documents{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix.endswith(".gz") else raw)
    with open_source(str(path)) as source:
        assert [(line.number, line.document) for line in source.lines] == [
            (1, b'{"id": "1", "n": 1.0}'),
            (3, b'{"id":  "2"}'),
            (4, b"not json"),
            (5, b'{"id": "3"}'),
        ]
        assert source.position() == source.total == path.stat().st_size


def test_the_id_may_be_in_another_field(tmp_path: Path) -> None:
    """--id-field moves the id, numbers included; lines without a usable one say why."""
    path = tmp_path / "documents.jsonl"
    path.write_text('{"isbn": 7, "id": "old"}\n{"isbn": true}\n{"x": 1}\n[]\n{\n{"isbn": "a"}\n')
    numbers = read(path, "isbn")
    assert numbers[0] == (1, {"id": "7"})
    assert numbers[1] == (2, "isbn: should be a string or an integer")
    assert numbers[2] == (3, "isbn: is missing")
    assert numbers[3] == (4, "should be a JSON object")
    assert numbers[4][1].startswith("is not JSON")
    assert numbers[5] == (6, {"id": "a"})


def test_a_line_that_is_far_too_long_is_not_kept(tmp_path: Path) -> None:
    """A line over the limit is rejected by number, and the next one is read as ever."""
    path = tmp_path / "documents.jsonl"
    with path.open("wb") as file:
        file.write(b'{"id": "1"}\n' + b"x" * (2 * DEFAULT_MAX_BYTES + 5) + b'\n{"id": "3"}\n')
    lines = read(path)
    assert lines[0] == (1, {"id": "1"})
    assert lines[1][0] == 2
    assert "longer" in lines[1][1]
    assert lines[2] == (3, {"id": "3"})


@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_a_file_that_breaks_off_says_so(tmp_path: Path, form: str) -> None:
    """A truncated .gz gives what was read before, then an error that names the file."""
    noise = random.Random(1)  # several times as much as is read at once
    documents = [{"id": str(number), "n": noise.randbytes(500).hex()} for number in range(3000)]
    whole = gzip.compress("\n".join(map(json.dumps, documents)).encode(), compresslevel=1)
    path = tmp_path / f"documents.{form}.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with open_source(str(path)) as source:
        assert json.loads(next(source.lines).document) == documents[0]
        with pytest.raises(BadRequestError, match=rf"documents\.{form}\.gz cannot be read further"):
            list(source.lines)


@pytest.mark.parametrize("compress", [False, True])
def test_standard_input_is_ndjson(monkeypatch: pytest.MonkeyPatch, compress: bool) -> None:
    """`-` reads NDJSON from standard input, compressed or not."""
    raw = b'{"id": "1"}\n{"id": "2"}\n'
    stdin = io.BufferedReader(io.BytesIO(gzip.compress(raw) if compress else raw))

    class Stdin:
        buffer = stdin

    monkeypatch.setattr(sys, "stdin", Stdin())
    assert read("-") == [(1, {"id": "1"}), (2, {"id": "2"})]


def test_csv_columns_get_the_types_that_their_values_fit(tmp_path: Path) -> None:
    """Numbers and booleans come as such, codes with leading zeros and mixed columns as text."""
    path = tmp_path / "films.csv"
    path.write_text(
        "id,title,year,score,seen,code,mixed,empty\n"
        '1,"Heat, ""and""\nDust",1983,6.5,true,007,1,\n'
        "2,1984,-5,7,FALSE,010,x,\n"
    )
    assert read(path) == [
        (
            3,
            {
                "id": "1",
                "title": 'Heat, "and"\nDust',
                "year": 1983,
                "score": 6.5,
                "seen": True,
                "code": "007",
                "mixed": "1",
            },
        ),
        (
            4,
            {
                "id": "2",
                "title": "1984",
                "year": -5,
                "score": 7.0,
                "seen": False,
                "code": "010",
                "mixed": "x",
            },
        ),
    ]


def test_known_types_come_before_guesses(tmp_path: Path) -> None:
    """A column that the collection declares as text stays text; a misfit is left to the gateway."""
    path = tmp_path / "films.csv"
    path.write_text("isbn,title,year\n1,1984,1949\n2,2001,unknown\n")
    fields = {"title": "text", "year": "integer"}
    assert read(path, "isbn", fields) == [
        (2, {"id": "1", "title": "1984", "year": 1949}),
        (3, {"id": "2", "title": "2001", "year": "unknown"}),
    ]


def test_ids_stay_as_they_are_written(tmp_path: Path) -> None:
    """An id that looks like a number is not rounded, trimmed or taken for one."""
    path = tmp_path / "films.csv"
    path.write_text("isbn,n\n1.50,1\n2e3,2\n")
    assert [document["id"] for _, document in read(path, "isbn")] == ["1.50", "2e3"]


def test_bad_csv_rows_do_not_stop_the_others(tmp_path: Path) -> None:
    """Rows with a cell too few or too many, or that are not UTF-8, are rejected by line."""
    path = tmp_path / "films.csv"
    path.write_bytes(b"id,title\n1,a\n2\n3,b,c\n4,\xff\n5,\xc3\xa9\n")
    lines = read(path)
    assert lines[0] == (2, {"id": "1", "title": "a"})
    assert [number for number, document in lines if isinstance(document, str)] == [3, 4, 5]
    assert lines[4] == (6, {"id": "5", "title": "\u00e9"})


@pytest.mark.parametrize(
    ("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")]
)
def test_a_file_with_other_separators_says_which(separator: str, name: str) -> None:
    """A header without commas that has another usual separator is refused, with its name."""
    written = io.BytesIO(f"id{separator}title\n1{separator}wing, and lift\n".encode())
    with pytest.raises(BadRequestError, match=f"{name} in line 1"):
        list(csv_rows(written, "id", {}, 1000))
    only = io.BytesIO(f"a{separator}b\n1\n".encode())  # the column of ids may have any name
    (row,) = csv_rows(only, f"a{separator}b", {}, 1000)
    assert (row.document, row.reason) == ({f"a{separator}b": "1"}, "")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_csv_header_in_another_encoding_is_named(encoding: str) -> None:
    """A spreadsheet saves "Unicode text" like this."""
    written = io.BytesIO("id,größe\n1,2\n".encode(encoding))
    with pytest.raises(BadRequestError, match="the header in line 1 is not UTF-8"):
        list(csv_rows(written, "id", {}, 1000))


@pytest.mark.parametrize("header", ["id,", "id,a,a"])
def test_a_csv_header_must_name_each_column(tmp_path: Path, header: str) -> None:
    """Without names, or with the same name twice, no document can be made."""
    path = tmp_path / "films.csv"
    path.write_text(header + "\n1,2,3\n")
    with pytest.raises(BadRequestError, match="line 1"):
        read(path)


_cell = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(rows=st.lists(st.tuples(_cell, _cell), max_size=20))
@settings(max_examples=60, deadline=None)
def test_whatever_csv_writes_is_read_back(rows: list[tuple[str, str]]) -> None:
    """Any text that Python's csv module writes comes back the same, cell by cell."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["id", "a", "b"])
    writer.writerows([str(number), *row] for number, row in enumerate(rows))
    stream = io.BytesIO(text.getvalue().encode())
    found = list(csv_rows(stream, "id", {"a": "text", "b": "text"}, 1000))
    expected = [{name: cell for name, cell in zip("ab", row, strict=True) if cell} for row in rows]
    assert [{k: v for k, v in row.document.items() if k != "id"} for row in found] == expected
    assert all(not row.reason for row in found)


def test_a_folder_s_text_files_are_documents(tmp_path: Path) -> None:
    """Each file is a document by its relative path; hidden ones are passed over."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.txt").write_text("second")
    (tmp_path / "a.md").write_text("first \u00e9")
    (tmp_path / ".hidden").write_text("no")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("no")
    (tmp_path / "c.bin").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "d.bin").write_bytes(b"a\x00b")
    with open_source(str(tmp_path)) as source:
        found = [(line.number, json.loads(line.document), line.reason) for line in source.lines]
        assert source.position() == source.total == 4
    assert found == [
        (1, {"id": "a.md", "path": "a.md", "text": "first \u00e9"}, ""),
        (2, {"id": "c.bin"}, "is not UTF-8 text"),
        (3, {"id": "d.bin"}, "is not a text file"),
        (4, {"id": "b/two.txt", "path": "b/two.txt", "text": "second"}, ""),
    ]


@pytest.mark.parametrize("suffix", [".parquet", ".parquet.gz"])
def test_parquet_rows_are_documents(tmp_path: Path, suffix: str) -> None:
    """Rows come with JSON's types, nulls and NaN left out."""
    pyarrow = pytest.importorskip("pyarrow", reason="NEEDS PYARROW, AN EXTRA")
    parquet = pytest.importorskip("pyarrow.parquet")
    import datetime as dt  # noqa: PLC0415 - for this test alone

    table = pyarrow.table(
        {
            "key": [1, 2],
            "title": ["a", None],
            "at": [dt.datetime(2020, 1, 2, 3, 4, 5), None],  # noqa: DTZ001 - Arrow's have none
            "tags": [["x", "y"], []],
            "rating": [float("nan"), 3.5],
        }
    )
    path = tmp_path / f"films{suffix}"
    plain = tmp_path / "plain"
    parquet.write_table(table, plain)
    raw = plain.read_bytes()
    path.write_bytes(gzip.compress(raw) if suffix.endswith(".gz") else raw)
    assert read(path, "key") == [
        (1, {"id": "1", "title": "a", "at": "2020-01-02T03:04:05+00:00", "tags": ["x", "y"]}),
        (2, {"id": "2", "tags": [], "rating": 3.5}),
    ]


def test_times_to_the_nanosecond_are_read_to_the_microsecond(tmp_path: Path) -> None:
    """As pandas writes them, by themselves, in lists and in structs."""
    pa = pytest.importorskip("pyarrow", reason="NEEDS PYARROW, AN EXTRA")
    parquet = pytest.importorskip("pyarrow.parquet")
    ns, second = 1_577_934_245_123_456_789, 1_577_934_245_000_000_000
    zoned, plain = pa.timestamp("ns", "UTC"), pa.timestamp("ns")
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "at": pa.array([ns, second, None], plain),
            "zoned": pa.array([ns, None, second], zoned),
            "all": pa.array([[ns, second], [], None], pa.list_(plain)),
            "part": pa.array(
                [{"t": ns, "n": 1}, None, {"t": None, "n": 2}],
                pa.struct([("t", zoned), ("n", pa.int64())]),
            ),
            "time": pa.array([ns % 86_400_000_000_000, None, None], pa.time64("ns")),
            "took": pa.array([1_500_000_001, None, None], pa.duration("ns")),
        }
    )
    path = tmp_path / "times.parquet"
    parquet.write_table(table, path)
    exact = "2020-01-02T03:04:05.123456+00:00"
    assert read(path) == [
        (
            1,
            {
                "id": "a",
                "at": exact,
                "zoned": exact,
                "all": [exact, "2020-01-02T03:04:05+00:00"],
                "part": {"t": exact, "n": 1},
                "time": "03:04:05.123456",
                "took": "PT1.5S",
            },
        ),
        (2, {"id": "b", "at": "2020-01-02T03:04:05+00:00", "all": []}),
        (3, {"id": "c", "zoned": "2020-01-02T03:04:05+00:00", "part": {"t": None, "n": 2}}),
    ]


def test_times_to_the_nanosecond_are_read_wherever_they_are(tmp_path: Path) -> None:
    """In a list of any kind, in a map, and in such values within one another."""
    pa = pytest.importorskip("pyarrow", reason="NEEDS PYARROW, AN EXTRA")
    parquet = pytest.importorskip("pyarrow.parquet")
    ns, exact = 1_577_934_245_123_456_789, "2020-01-02T03:04:05.123456+00:00"
    time = pa.timestamp("ns")
    pair = pa.list_(time, 2)
    columns = {
        "large": ([ns], pa.large_list(time), [exact]),
        "view": ([ns], pa.list_view(time), [exact]),
        "large_view": ([ns, None], pa.large_list_view(time), [exact, None]),
        "pair": ([ns, None], pair, [exact, None]),
        "map": ([("a", ns)], pa.map_(pa.string(), time), [["a", exact]]),
        "by_time": ([(ns, 7)], pa.map_(time, pa.int32()), [[exact, 7]]),
        "took": ([1_500_000_001], pa.list_(pa.duration("ns"), 1), ["PT1.5S"]),
        "deep": (
            [{"m": [("a", [ns, ns])]}],
            pa.list_(pa.struct([("m", pa.map_(pa.string(), pair))]), 1),
            [{"m": [["a", [exact, exact]]]}],
        ),
    }
    path = tmp_path / "times.parquet"
    table = {name: pa.array([value, None], kind) for name, (value, kind, _) in columns.items()}
    parquet.write_table(pa.table({"id": ["a", "b"], **table}), path)
    shown = {name: one for name, (_, _, one) in columns.items()}
    assert read(path) == [(1, {"id": "a", **shown}), (2, {"id": "b"})]


def test_the_values_of_a_map_are_those_of_a_column(tmp_path: Path) -> None:
    """A decimal is a number, and bytes, which JSON cannot represent, reject the row."""
    pa = pytest.importorskip("pyarrow", reason="NEEDS PYARROW, AN EXTRA")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "maps.parquet"
    numbers = pa.array([[("a", Decimal("1.5"))], None], pa.map_(pa.string(), pa.decimal128(3, 1)))
    raw = pa.array([None, [("a", b"x")]], pa.map_(pa.string(), pa.binary()))
    parquet.write_table(pa.table({"id": ["a", "b"], "numbers": numbers, "raw": raw}), path)
    first, second = read(path)
    assert first == (1, {"id": "a", "numbers": [["a", 1.5]]})
    assert "contains bytes" in second[-1]


def test_a_row_of_parquet_that_python_cannot_hold_keeps_no_other_out(tmp_path: Path) -> None:
    """A date after the year 9999 is rejected with the reason."""
    pa = pytest.importorskip("pyarrow", reason="NEEDS PYARROW, AN EXTRA")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "times.parquet"
    far = pa.array([0, 400_000_000_000_000_000, 1], pa.timestamp("us"))
    parquet.write_table(pa.table({"id": ["a", "b", "c"], "at": far}), path)
    first, second, third = read(path)
    assert first == (1, {"id": "a", "at": "1970-01-01T00:00:00+00:00"})
    assert second[0] == 2
    assert "cannot be converted" in second[-1]
    assert third == (3, {"id": "c", "at": "1970-01-01T00:00:00.000001+00:00"})


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        (None, "2020-01-02T03:04:05+00:00"),
        ("Nowhere/Land", "2020-01-02T03:04:05+00:00"),
        ("+05:30", "2020-01-02T08:34:05+05:30"),
        ("Asia/Tokyo", "2020-01-02T12:04:05+09:00"),
    ],
)
def test_times_without_a_zone_that_is_known_are_read_in_utc(
    tmp_path: Path, zone: str | None, shown: str
) -> None:
    """So they are dates. An image may lack the names of time zones."""
    pa = pytest.importorskip("pyarrow", reason="NEEDS PYARROW, AN EXTRA")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "times.parquet"
    at = pa.array([1_577_934_245], pa.timestamp("s", zone))
    parquet.write_table(pa.table({"id": ["a"], "at": at}), path)
    assert read(path) == [(1, {"id": "a", "at": shown})]
    assert mismatch(FieldType.DATE, shown) == ""


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra that is missing is named."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "films.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigurationError, match="extra `parquet`"):
        read(tmp_path / "films.parquet")


@pytest.mark.parametrize("name", ["films.xml", "films", "films.gz", "films.txt.gz"])
def test_an_unknown_form_is_refused(tmp_path: Path, name: str) -> None:
    """A file of unknown form is refused with the forms that are known."""
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(BadRequestError, match=r"\.jsonl, \.ndjson"):
        read(tmp_path / name)


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A path that leads nowhere is named."""
    with pytest.raises(BadRequestError, match="nowhere"):
        read(tmp_path / "nowhere.jsonl")


def test_a_program_s_documents_are_numbered() -> None:
    """Documents made by a program are lines as well, counted as they are taken."""
    source = document_source({"id": str(number)} for number in range(3))
    assert [line.number for line in source.lines] == [1, 2, 3]
    assert source.position() == 3
