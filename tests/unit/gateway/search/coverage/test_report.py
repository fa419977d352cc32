"""What is reported of a curve, against curves whose every time is known."""

import math

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.search.coverage.curve import CoverageCurve
from hedgerow.gateway.search.coverage.report import coverage_report, gain_of, landmarks

STEP = 1.02  # the curve's points lie so far apart

needed = st.lists(st.floats(1.0, 1000.0), min_size=1, max_size=40)


def curve_of(needed_ms: list[float], num_never: int = 0) -> CoverageCurve:
    """A curve of parts of equal size."""
    curve = CoverageCurve()
    for one in needed_ms:
        curve.add(one / 1000, 1.0, 0.0)
    for _ in range(num_never):
        curve.never(1.0, 0.0)
    return curve


@given(needed, st.integers(0, 10), st.floats(5.0, 500.0))
def test_the_gain_is_what_half_as_much_again_would_give_at_the_least(
    needed_ms: list[float], num_never: int, deadline_ms: float
) -> None:
    """The most within that, no later than the last that comes in it, and only if there is any."""
    gain = gain_of(curve_of(needed_ms, num_never), deadline_ms)
    num = len(needed_ms) + num_never
    surely = [one for one in needed_ms if deadline_ms * STEP < one < deadline_ms * 1.5 / STEP]
    perhaps = [one for one in needed_ms if deadline_ms / STEP < one < deadline_ms * 1.5 * STEP]
    if surely:
        assert gain is not None
    if gain is not None:
        assert perhaps
        at_most = sum(one < deadline_ms * 1.5 * STEP for one in needed_ms) / num
        at_least = sum(one < deadline_ms * 1.5 / STEP for one in needed_ms) / num
        assert at_least - 1e-9 <= gain.coverage <= at_most + 1e-9
        assert 0 < gain.extra_ms <= max(perhaps) * STEP - deadline_ms + 1e-6
        assert gain.extra_ms <= deadline_ms / 2 + 1e-9


@given(st.floats(145.0, 155.0))
def test_no_more_is_proposed_than_half_of_the_deadline(needed_ms: float) -> None:
    """Nothing is proposed if the point that is sought lies just beyond half of the deadline."""
    gain = gain_of(curve_of([10.0, needed_ms]), 100.0)
    assert gain is None or gain.extra_ms <= 50


@given(needed)
def test_a_handful_of_points_are_points_of_the_curve(needed_ms: list[float]) -> None:
    """They ascend, the last is the curve's last, and from half on no landmark is left out."""
    points = curve_of(needed_ms).curve()
    few = landmarks(points)
    assert set(few) <= set(points)
    assert few == sorted(few)
    assert len(few) <= 6
    assert few[-1] == points[-1]
    assert few[0] == next(point for point in points if point[1] >= 0.5)


def test_before_the_first_query_nothing_is_told() -> None:
    """A curve of nothing has no points, no coverage and no gain."""
    for is_brief in (True, False):
        report = coverage_report(CoverageCurve(), 300.0, is_brief=is_brief)
        assert report == {"deadline_ms": 300.0, "coverage": None, "gain": None, "points": []}


def test_numbers_are_finite_and_ordered() -> None:
    """The report of a steep curve is JSON that a reader can plot."""
    report = coverage_report(curve_of([1.0] * 99 + [280.0]), 200.0)
    at = [point["deadline_ms"] for point in report["points"]]
    assert at == sorted(at)
    assert all(math.isfinite(one) for one in at)
    assert report["coverage"] == 0.99
    assert report["gain"]["coverage"] == 1.0
