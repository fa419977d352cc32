"""The drawing of a curve: true to its points, within its width, readable without colour."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hedgerow.gateway.cli.curve import NUM_LINES, CurvePicture, coverage_at
from hedgerow.gateway.search.coverage.curve import CoverageCurve
from hedgerow.gateway.search.coverage.report import coverage_report

needed = st.lists(st.floats(0.2, 20_000.0), max_size=30)


def curve_of(needed_ms: list[float]) -> CoverageCurve:
    """A curve of parts of equal size."""
    curve = CoverageCurve()
    for one in needed_ms:
        curve.add(one / 1000, 1.0, 0.0)
    return curve


def draw(
    curve: CoverageCurve, deadline_ms: float = 300.0, *, width: int = 80, encoding: str = "utf-8"
) -> list[str]:
    """Draw on a terminal of `width` columns that knows no colour."""
    file = io.TextIOWrapper(io.BytesIO(), encoding, newline="")
    console = Console(file=file, width=width, no_color=True, force_terminal=False)
    console.print(CurvePicture({"name": "films", **coverage_report(curve, deadline_ms)}))
    file.flush()
    return file.buffer.getvalue().decode(encoding).splitlines()


@given(needed, st.floats(1.0, 10_000.0), st.integers(80, 200))
def test_each_bar_is_as_long_as_its_coverage(
    needed_ms: list[float], deadline_ms: float, width: int
) -> None:
    """Exact to a cell, growing from line to line, and full only where all is covered."""
    curve = curve_of(needed_ms)
    lines = draw(curve, deadline_ms, width=width)
    assert all(len(line) <= width for line in lines)
    bars = [line for line in lines if line.count("│") == 2]
    assert bool(bars) == bool(needed_ms)
    assert len(bars) <= NUM_LINES + 2
    before = 0
    for line in bars:
        label, bar, rest = line.split("│")
        share = curve.coverage(float(label.split()[0]) * 1.01)
        length = bar.count("█")
        assert length <= share * len(bar) + 1e-6
        assert length >= before
        assert (length == len(bar)) == ("100.0 %" in rest)
        before = length


@given(needed, st.floats(0.01, 30_000.0))
def test_between_points_it_reads_as_the_curve_does(needed_ms: list[float], at_ms: float) -> None:
    """What the client computes from the points is what the gateway computes."""
    curve = curve_of(needed_ms)
    assert abs(coverage_at(curve.curve(), at_ms) - curve.coverage(at_ms)) < 1e-9


def test_a_plain_terminal_gets_ascii() -> None:
    """Without block characters, nothing but ASCII is printed."""
    text = "\n".join(draw(curve_of([10.0, 310.0]), encoding="ascii"))
    assert text.isascii()
    assert "?" not in text
    assert "#####" in text


def test_before_the_first_query_it_says_so() -> None:
    """A curve without queries is not drawn."""
    assert draw(CoverageCurve()) == ["no query has been measured yet"]


def test_where_more_time_gives_nothing_it_says_so() -> None:
    """All is covered by the deadline, or what is missing never comes."""
    curve = curve_of([10.0])
    curve.never(1.0, 0.0)
    for one in (curve, curve_of([10.0])):
        assert draw(one)[-1].startswith("more time than 300 ms would have given nothing")
