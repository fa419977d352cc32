"""NDJSON: cutting a stream into lines."""

import itertools
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.writes.ndjson import Line, LineSplitter


def split(data: bytes, cuts: list[int], limit: int) -> list[Line]:
    """What a splitter makes of data that arrives in pieces."""
    splitter = LineSplitter(limit)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    lines: list[Line] = []
    for start, end in itertools.pairwise(edges):
        lines += splitter.feed(data[start:end])
    return lines + list(splitter.end())


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
        assert list(splitter.feed(b"x" * 1000)) == []
        assert len(splitter._rest) <= 10
    assert list(splitter.feed(b"\n{}\n")) == [(1, None), (2, b"{}")]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    """A mark at the start of the stream is dropped, one elsewhere is not."""
    lines = split(b"\xef\xbb\xbf{}\n\xef\xbb\xbf{}\n", [1, 2], limit=100)
    assert lines == [(1, b"{}"), (2, b"\xef\xbb\xbf{}")]


def test_a_line_in_small_chunks_is_kept_once() -> None:
    """A line that arrives byte by byte takes its own size, and not an object for each byte."""
    splitter = LineSplitter(1_000_000)
    tracemalloc.start()
    try:
        for _ in range(40_000):
            assert not list(splitter.feed(b"x"))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * 40_000
    assert list(splitter.feed(b"\n")) == [(1, b"x" * 40_000)]


def test_lines_are_cut_off_as_they_are_asked_for() -> None:
    """A chunk of nothing but newlines costs nothing before its lines are taken."""
    lines = LineSplitter(10).feed(b"\n" * 1000)
    assert [next(lines), next(lines)] == [(1, b""), (2, b"")]
    assert len(list(lines)) == 998


def test_a_line_that_breaks_off_is_let_go() -> None:
    """When a stream has broken off, nothing of its last line is kept."""
    splitter = LineSplitter(1_000_000)
    assert not list(splitter.feed(b"x" * 500_000))
    splitter.forget()
    assert not splitter.has_part
    assert len(splitter._rest) == 0
