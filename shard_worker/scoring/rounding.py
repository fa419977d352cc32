"""Scores as they are shown, and which of them tie.

Weights are adjusted in single precision, so that scores which are equal in theory differ by some
1e-7 between shards. Rounded to five digits they are equal again, and are then ordered by id.
"""

from bisect import bisect, bisect_left
from collections.abc import Sequence
from typing import Final, NamedTuple

_DIGITS: Final = 5
_LEAST: Final = -45  # the lowest power of ten of single precision
_POWERS: Final = [float(f"1e{exponent}") for exponent in range(_LEAST, 39)]
# By place among the powers: how many decimals the rounded score has, and the power of ten that
# makes it a whole number. A score times that is exact in double precision up to 12 decimals, since
# a score has 24 bits, and five to that power has 28. Beyond, there is no such power (0).
_DECIMALS: Final = [_DIGITS - _LEAST - place for place in range(len(_POWERS) + 1)]
_SCALES: Final = [10.0**decimals if 0 <= decimals <= 12 else 0.0 for decimals in _DECIMALS]
_HALF_STEPS: Final = [0.5 * 10.0**-decimals for decimals in _DECIMALS]
# By what share of a document's score two searches may differ: in single precision a sum depends on
# the order of its terms.
_SLACK: Final = 1e-6


class Tie(NamedTuple):
    """The scores that count as equal: from `least` to `most`, all `shown` alike."""

    shown: float
    least: float
    most: float


def rounded(score: float) -> float:
    """Round a score of single precision to five digits; the same as formatting it so."""
    place = bisect(_POWERS, score)
    scale = _SCALES[place]
    if scale:  # takes a third of the time of rounding to decimals
        return round(score * scale) / scale
    return round(score, _DECIMALS[place])


def all_rounded(scores: Sequence[float]) -> list[float]:
    """Round scores in descending order; takes half as long as rounding each.

    That is, unless they are from more than two neighbouring powers of ten.
    """
    if scores:
        place = bisect(_POWERS, scores[-1])
        scale, above = _SCALES[place], _SCALES[min(place + 1, len(_POWERS))]
        if scale and scores[0] < _POWERS[place]:
            return [round(score * scale) / scale for score in scores]
        if scale and above and scores[0] < _POWERS[place + 1]:
            bound = _POWERS[place]
            return [
                round(score * scale) / scale if score < bound else round(score * above) / above
                for score in scores
            ]
    return [rounded(score) for score in scores]


def tie_of(score: float) -> Tie:
    """The range of scores that are shown as `score` is; `score` is as tantivy computed it."""
    shown = rounded(score)
    # At a power of ten, the step below is a tenth of the step above.
    below, above = bisect_left(_POWERS, shown), bisect(_POWERS, shown)
    slack = score * _SLACK
    return Tie(
        shown,
        min(shown - _HALF_STEPS[below], score - slack),
        max(shown + _HALF_STEPS[above], score + slack),
    )
