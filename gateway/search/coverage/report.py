"""What a curve of coverage says about one deadline, as JSON; docs/http.md describes it."""

from typing import Any, Final, NamedTuple

from hedgerow.gateway.search.coverage.curve import CoverageCurve

# Longer deadlines are reported up to this multiple of the one asked about: late replies tell
# about a quarter more, and what comes from patient queries beyond is of no use to hasty ones.
FARTHEST: Final = 1.5
# Coverage is shown in tenths of a percent: what is nearer to the best than half of one is the best.
_SAME: Final = 0.0005
_LANDMARKS: Final = (0.5, 0.9, 0.95, 0.99, 0.999)

Point = tuple[float, float]


class Gain(NamedTuple):
    """What more time would have given.

    Attributes:
        extra_ms: the least time beyond the deadline that gives it, in ms.
        coverage: what is reached then, from 0 to 1.
    """

    extra_ms: float
    coverage: float


def gain_of(curve: CoverageCurve, deadline_ms: float) -> Gain | None:
    """The most that up to half of the deadline more would have given, and how soon.

    Returns:
        None if it would have given nothing, as far as anything is known.
    """
    best = curve.coverage(deadline_ms * FARTHEST)
    if best - curve.coverage(deadline_ms) < _SAME:
        return None
    for at_ms, coverage in curve.curve():
        if at_ms > deadline_ms and coverage > best - _SAME:
            return Gain(min(at_ms, deadline_ms * FARTHEST) - deadline_ms, best)
    return None


def landmarks(points: list[Point]) -> list[Point]:
    """The points at which half is covered, nine tenths and so on, and the last; at most six."""
    found = {
        next(point for point in points if point[1] >= share)
        for share in _LANDMARKS
        if points and points[-1][1] >= share
    }
    return sorted(found | set(points[-1:]))


def coverage_report(
    curve: CoverageCurve, deadline_ms: float, *, is_brief: bool = False
) -> dict[str, Any]:
    """Tell a curve.

    Args:
        curve: a collection's.
        deadline_ms: the deadline that is asked about.
        is_brief: whether a handful of points will do.
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
