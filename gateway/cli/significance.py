"""Whether one ranking is better than another by more than chance: a randomisation test. Pure.

If two rankings were equally good, it would be chance which of them has which of the two values of a
query. So the values of each query are exchanged at random, many times over, and the p-value is the
share of the assignments in which the means differ by at least as much as they do. Unlike Student's
test, this assumes nothing about the distribution of the differences, which are far from normal:
for most queries they are 0. (Smucker, Allan, Carterette: A comparison of statistical significance
tests for information retrieval evaluation, CIKM 2007.)
"""

import random
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Final

NUM_ASSIGNMENTS: Final = 20_000
SEED: Final = 1  # the same figures each time
_MOST_EXACT: Final = 14  # queries; 2 ** 14 assignments are all tried
_DIGITS: Final = bytes.maketrans(b"01", b"\x00\x01")
# Sums of the same numbers in another order differ by as much.
_TOLERANCE: Final = 1e-12


def p_value(differences: Sequence[float]) -> float:
    """The two-sided p-value of the mean of paired differences; 1 if none of them is other than 0.

    It is exact for at most 14 queries that differ, and otherwise estimated from 20,000 assignments.
    """
    other = [one for one in differences if one]
    if not other:
        return 1.0
    total = sum(other)
    least = abs(total) - _TOLERANCE * sum(map(abs, other))
    if len(other) <= _MOST_EXACT:
        num = 1 << len(other)
        return sum(_is_as_far(other, bits, total, least) for bits in range(num)) / num
    rng = random.Random(SEED)
    as_far = sum(
        _is_as_far(other, rng.getrandbits(len(other)), total, least) for _ in range(NUM_ASSIGNMENTS)
    )
    # The assignment that was observed is one of them.
    return (as_far + 1) / (NUM_ASSIGNMENTS + 1)


def _is_as_far(differences: Sequence[float], bits: int, total: float, least: float) -> bool:
    """Whether the sum is as far from 0 if the differences of the bits that are set change sign."""
    selected = f"{bits:0{len(differences)}b}".encode().translate(_DIGITS)
    return abs(total - 2 * sum(compress(differences, selected))) >= least


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values of several comparisons, so that the chance of any error stays what one says.

    By Holm's method, which assumes nothing of how the comparisons depend on each other.
    """
    adjusted: dict[str, float] = {}
    most = 0.0
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    for place, (name, value) in enumerate(ordered):
        most = max(most, min(1.0, value * (len(ordered) - place)))
        adjusted[name] = most
    return {name: adjusted[name] for name in p_values}
