"""The quantile sketch against all values, sorted."""

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.policies.quantiles import (
    MAX_S,
    MIN_S,
    NUM_PARTS,
    RELATIVE_ERROR,
    QuantileSketch,
)

WINDOW_S = 8.0
PART_S = WINDOW_S / NUM_PARTS

values = st.floats(MIN_S, MAX_S)
steps = st.floats(0.0, 3.0)
shares = st.floats(0.0, 1.0)


@given(st.lists(st.tuples(values, steps), min_size=1, max_size=200), st.floats(0, 20), shares)
def test_quantile_is_within_the_declared_error(
    calls: list[tuple[float, float]], rest_s: float, q: float
) -> None:
    """Each quantile is that of the window's values, within the relative error."""
    sketch = QuantileSketch(WINDOW_S)
    now = 0.0
    taken: list[tuple[float, float]] = []
    for value, step in calls:
        now += step
        sketch.record(value, now)
        taken.append((now, value))
    now += rest_s
    first_part = now // PART_S - NUM_PARTS + 1
    kept = sorted(value for at, value in taken if at // PART_S >= first_part)
    assert sketch.count(now) == len(kept)
    found = sketch.quantile(q, now)
    if not kept:
        assert found is None
        return
    assert found is not None
    ranks = q * (len(kept) - 1)
    # Where q is a hair off a whole rank, either neighbour is right.
    right = {kept[math.floor(ranks)], kept[math.floor(ranks + 1e-6)]}
    assert any(abs(found - value) <= value * (RELATIVE_ERROR + 1e-9) for value in right)


@given(st.lists(st.tuples(values, steps), max_size=100), st.lists(values, min_size=1), shares)
def test_the_window_forgets(
    before: list[tuple[float, float]], after: list[float], q: float
) -> None:
    """What was recorded a whole window and a part ago has no influence on any quantile."""
    fresh, used = QuantileSketch(WINDOW_S), QuantileSketch(WINDOW_S)
    now = 0.0
    for value, step in before:
        now += step
        used.record(value, now)
        used.record_censored(value, now)
    now += WINDOW_S + PART_S
    for value in after:
        fresh.record(value, now)
        used.record(value, now)
    assert used.quantile(q, now) == fresh.quantile(q, now)


@pytest.mark.parametrize("censored", [0, 3])
def test_no_quantile_before_the_minimum(censored: int) -> None:
    """Fewer durations than the minimum give no quantile, and the minimum gives one."""
    sketch = QuantileSketch(WINDOW_S, min_count=10)
    for _ in range(censored):
        sketch.record_censored(0.001, 0.0)
    for number in range(10 - censored):
        assert sketch.quantile(0.5, 0.0) is None, number
        sketch.record(0.01, 0.0)
    assert sketch.quantile(0.5, 0.0) == pytest.approx(0.01, rel=RELATIVE_ERROR)


@pytest.mark.parametrize(("value", "found"), [(0.0, MIN_S), (-1.0, MIN_S), (1e9, MAX_S)])
def test_values_out_of_range(value: float, found: float) -> None:
    """An invalid or enormous duration counts as the nearest that has a bucket."""
    sketch = QuantileSketch(WINDOW_S)
    sketch.record(value, 0.0)
    assert sketch.quantile(1.0, 0.0) == pytest.approx(found, rel=2.1 * RELATIVE_ERROR)
    sketch.record_censored(value, 0.0)
    assert sketch.quantile(1.0, 0.0) == pytest.approx(found, rel=2.1 * RELATIVE_ERROR)


def product_limit(calls: list[tuple[int, bool]], rank: Fraction) -> int:
    """Kaplan and Meier's estimate, exactly: the least time by which more than `rank` have ended."""
    survival = Fraction(1)
    for time in sorted({time for time, _ in calls}):
        at_risk = sum(other >= time for other, _ in calls)
        ended = sum(other == time and is_whole for other, is_whole in calls)
        survival *= 1 - Fraction(ended, at_risk)
        if 1 - survival > rank:
            return time
    return max(time for time, _ in calls)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=60),
    st.integers(0, 100),
)
def test_censored_values_count_as_the_product_limit_says(
    calls: list[tuple[int, bool]], percent: int
) -> None:
    """With waits that were given up, a quantile is the one of the exact product-limit estimate."""
    sketch = QuantileSketch(WINDOW_S)
    for time, is_whole in calls:
        # Times that are far enough apart to have each its bucket.
        (sketch.record if is_whole else sketch.record_censored)(1.5**time / 1000, 0.0)
    rank = Fraction(percent * (len(calls) - 1) // 100, len(calls))
    found = sketch.quantile(percent / 100, 0.0)
    assert found == pytest.approx(1.5 ** product_limit(calls, rank) / 1000, rel=RELATIVE_ERROR)


def test_giving_up_does_not_bias() -> None:
    """Though half of the slow ones are cut off at random, the percentile is that of all."""
    rng = random.Random(5)
    sketch = QuantileSketch(WINDOW_S)
    naive = QuantileSketch(WINDOW_S)
    everything = []
    for _ in range(20_000):
        takes_s = rng.expovariate(1 / 0.01)
        everything.append(takes_s)
        gives_up_s = rng.expovariate(1 / 0.02)
        if gives_up_s < takes_s:
            sketch.record_censored(gives_up_s, 0.0)
        else:
            sketch.record(takes_s, 0.0)
        naive.record(min(takes_s, gives_up_s), 0.0)
    true = sorted(everything)[int(0.95 * len(everything))]
    assert sketch.quantile(0.95, 0.0) == pytest.approx(true, rel=0.08)
    without = naive.quantile(0.95, 0.0)
    assert without is not None
    assert without < true * 0.75
