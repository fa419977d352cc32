"""Scores as they are shown, and which of them tie.

Weights are exchanged in single precision, so that scores which are equal in theory come out some
1e-7 apart on different shards. Five digits make them equal again, and their order that of the id.
"""

from bisect import bisect, bisect_left
from typing import Final, NamedTuple

_DIGITS: Final = 5
_LEAST: Final = -45  # the least power of ten of single precision
_POWERS: Final = [float(f"1e{exponent}") for exponent in range(_LEAST, 39)]
# By how much two searches may disagree on the score of a document, as a share of it: a sum of
# single precision depends on the order of its parts.
_SLACK: Final = 1e-6


class Tie(NamedTuple):
    """The scores that count as equal: from `least` to `most`."""

    least: float
    most: float


def rounded(score: float) -> float:
    """A score to five digits: what formatting it so would give, in two thirds of the time."""
    return round(score, _DIGITS - _LEAST - bisect(_POWERS, score))


def tie_of(score: float) -> Tie:
    """The scores that are shown as `score` is, which is as tantivy gave it."""
    shown = rounded(score)
    # At a power of ten, what is rounded up to it lies closer than what is rounded down to it.
    below, above = _half_step(bisect_left(_POWERS, shown)), _half_step(bisect(_POWERS, shown))
    slack = score * _SLACK
    return Tie(min(shown - below, score - slack), max(shown + above, score + slack))


def _half_step(place: int) -> float:
    return 0.5 * 10.0 ** (place + _LEAST - _DIGITS)
