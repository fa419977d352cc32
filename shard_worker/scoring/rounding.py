"""Scores as they are shown, and which of them tie.

Weights are adjusted in single precision, so that scores which are equal in theory differ by some
1e-7 between shards. Rounded to five digits they are equal again, and are then ordered by id.
"""

from bisect import bisect, bisect_left
from typing import Final, NamedTuple

_DIGITS: Final = 5
_LEAST: Final = -45  # the lowest power of ten of single precision
_POWERS: Final = [float(f"1e{exponent}") for exponent in range(_LEAST, 39)]
# By what share of a document's score two searches may differ: in single precision a sum depends on
# the order of its terms.
_SLACK: Final = 1e-6


class Tie(NamedTuple):
    """The scores that count as equal: from `least` to `most`."""

    least: float
    most: float


def rounded(score: float) -> float:
    """Round a score to five digits; the same as formatting it so, in two thirds of the time."""
    return round(score, _DIGITS - _LEAST - bisect(_POWERS, score))


def tie_of(score: float) -> Tie:
    """The range of scores that are shown as `score` is; `score` is as tantivy computed it."""
    shown = rounded(score)
    # At a power of ten, the step below is a tenth of the step above.
    below, above = _half_step(bisect_left(_POWERS, shown)), _half_step(bisect(_POWERS, shown))
    slack = score * _SLACK
    return Tie(min(shown - below, score - slack), max(shown + above, score + slack))


def _half_step(place: int) -> float:
    return 0.5 * 10.0 ** (place + _LEAST - _DIGITS)
