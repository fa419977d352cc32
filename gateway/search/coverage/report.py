"""What a coverage curve says about one deadline, as JSON; docs/http-search.md describes it."""

from typing import Any, Final, NamedTuple

from hedgerow.gateway.search.coverage.curve import CoverageCurve

# Longer deadlines are reported up to this multiple of the requested one: late replies tell about a
# quarter more, and what queries with much longer deadlines tell is of no use at this one.
FARTHEST: Final = 1.5
# Coverage is shown in tenths of a percent; differences of less than half of one do not count.
_SAME: Final = 0.0005
_LANDMARKS: Final = (0.5, 0.9, 0.95, 0.99, 0.999)

Point = tuple[float, float]


class Gain(NamedTuple):
    """The coverage that more time would have given.

    Attributes:
        extra_ms: the least time beyond the deadline that gives it, in ms.
        coverage: the coverage reached then, from 0 to 1.
    """

    extra_ms: float
    coverage: float


def gain_of(curve: CoverageCurve, deadline_ms: float) -> Gain | None:
    """Return the best coverage that a deadline up to half as long again would have given.

    Returns:
        None if it would have given nothing more, as far as the curve tells.
    """
    best = curve.coverage(deadline_ms * FARTHEST)
    if best - curve.coverage(deadline_ms) < _SAME:
        return None
    for at_ms, coverage in curve.curve():
        if at_ms > deadline_ms and coverage > best - _SAME:
            return Gain(min(at_ms, deadline_ms * FARTHEST) - deadline_ms, best)
    return None


def landmarks(points: list[Point]) -> list[Point]:
    """Return the points at which half is covered, nine tenths etc., and the last; at most six."""
    found = {
        next(point for point in points if point[1] >= share)
        for share in _LANDMARKS
        if points and points[-1][1] >= share
    }
    return sorted(found | set(points[-1:]))


def coverage_report(
    curve: CoverageCurve, deadline_ms: float, *, is_brief: bool = False
) -> dict[str, Any]:
    """Describe a curve, as JSON.

    Args:
        curve: a collection's curve.
        deadline_ms: the deadline to report on, in ms.
        is_brief: whether to include only a handful of points.
    """
    points = curve.curve()
    gain = gain_of(curve, deadline_ms)
    return {
        "deadline_ms": deadline_ms,
        "coverage": round(curve.coverage(deadline_ms), 6) if points else None,
        "gain": gain and {"extra_ms": round(gain.extra_ms, 3), "coverage": round(gain.coverage, 6)},
        "points": [
            {"deadline_ms": round(at_ms, 3), "coverage": round(coverage, 6)}
            for at_ms, coverage in (landmarks(points) if is_brief else points)
        ],
    }
