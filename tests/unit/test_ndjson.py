"""NDJSON: cutting a stream into lines, and which lines are documents."""

import itertools
import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadRequestError, TooLargeError
from gateway.ndjson import MAX_DEPTH, LineSplitter, parse_document


def split(data: bytes, cuts: list[int], limit: int) -> list[tuple[int, bytes | None]]:
    """What a splitter makes of data that arrives in pieces."""
    splitter = LineSplitter(limit)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    lines = []
    for start, end in itertools.pairwise(edges):
        lines += splitter.feed(data[start:end])
    return lines + splitter.end()


@given(st.binary(max_size=80).map(lambda b: b.replace(b"\x07", b"\n")), st.lists(st.integers(0)))
def test_chunks_do_not_matter(data: bytes, cuts: list[int]) -> None:
    """However a stream is cut, its lines are those between its newlines, in order."""
    expected = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if data == b"\xef\xbb\xbf":
        expected = [b"", b""]  # the mark is a line of nothing
    if not expected[-1]:
        expected.pop()
    lines = split(data, cuts, limit=1000)
    assert [line for _, line in lines] == expected
    assert [number for number, _ in lines] == list(range(1, len(expected) + 1))


@given(st.lists(st.integers(0, 12), max_size=20), st.lists(st.integers(0)))
def test_overlong_lines_are_told_apart(lengths: list[int], cuts: list[int]) -> None:
    """A line over the limit is None, wherever the stream is cut, and its neighbours stay."""
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    lines = split(data, cuts, limit=6)
    assert [line for _, line in lines] == [
        b"x" * length if length <= 6 else None for length in lengths
    ]


def test_an_overlong_line_is_not_kept() -> None:
    """A line of any length takes no more memory than the limit and a chunk."""
    splitter = LineSplitter(10)
    for _ in range(1000):
        assert splitter.feed(b"x" * 1000) == []
        assert len(splitter._rest) <= 10
    assert splitter.feed(b"\n{}\n") == [(1, None), (2, b"{}")]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    """A mark at the start of the stream is dropped, one elsewhere is not."""
    lines = split(b"\xef\xbb\xbf{}\n\xef\xbb\xbf{}\n", [1, 2], limit=100)
    assert lines == [(1, b"{}"), (2, b"\xef\xbb\xbf{}")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"id":"a"', "not JSON"),
        (b'{"id":"a"} {}', "not JSON"),
        (b'{"title":"no id"}', "missing"),
        (b'{"id":null}', "missing"),
        (b'{"id":""}', "at least one character"),
        (b'{"id":true}', "string"),
        (b'{"id":1.5}', "string"),
        (b'{"id":"a","x":NaN}', "NaN"),
        (b'{"id":"a","x":-Infinity}', "Infinity"),
        (b'{"id":"a","x":1e999}', "1e999"),
        (b'{"id":"a","x":123456789012345678901234567890}', "64 bits"),
        (b'{"id":"a","x":-9223372036854775809}', "64 bits"),
        (b'{"id":"a","x":' + b"9" * 10_000 + b"}", "64 bits"),
        (b'{"id":"a","x":"\xff"}', "UTF-8"),
        (b'{"id":"a","x":"\\ud800"}', "surrogate"),
        (b'{"id":"a","x":' + b"[" * 101 + b"]" * 101 + b"}", "nested"),
        (b'{"id":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
    ],
)
def test_what_is_no_document(line: bytes, reason: str) -> None:
    """Each line that cannot be taken is refused with a reason that says why."""
    with pytest.raises(BadRequestError, match=reason):
        parse_document(line, 512, 1_000_000)


def test_limits() -> None:
    """A document, or an id, over its limit is refused as too large; one at it is not."""
    with pytest.raises(TooLargeError, match="id"):
        parse_document(b'{"id":"aaaaa"}', 4, 100)
    with pytest.raises(TooLargeError, match="document"):
        parse_document(b'{"id":"a","x":"yyyy"}', 4, 20)
    assert parse_document(b'{"id":"aaaa","x":"yy"}', 4, 22).id == "aaaa"


def test_whole_numbers_are_ids() -> None:
    """An integer id counts as its digits, and the document is kept with them as its id."""
    parsed = parse_document(b'{"id":184,"n":5}', 512, 1000)
    assert parsed.id == "184"
    assert parsed.document == json.loads(parsed.body) == {"id": "184", "n": 5}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), json_values), st.booleans())
def test_an_accepted_document_survives(document: dict[str, Any], is_spaced: bool) -> None:
    """What is accepted is stored as JSON of the same value, in as few bytes, and can be packed."""
    document["id"] = "a"
    line = json.dumps(document, ensure_ascii=is_spaced, indent=None if is_spaced else 0)
    parsed = parse_document(line.replace("\n", " ").encode(), 512, 1_000_000)
    assert parsed.document == document
    assert json.loads(parsed.body) == document
    assert len(parsed.body) <= len(line.encode())
    msgpack.packb(parsed.document)


def test_nesting_up_to_the_limit() -> None:
    """Many brackets side by side are no nesting, and the limit itself is allowed."""
    wide = b'{"id":"a","x":[' + b",".join([b"[]"] * 500) + b"]}"
    deep = b'{"id":"a","x":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    for line in (wide, deep):
        assert parse_document(line, 512, 1_000_000).body == line
