"""Vespa's adaptive timeout, by its rules and its formula."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.settings.tail import CoverageSettings
from hedgerow.gateway.policies.adaptive_timeout import AdaptiveTimeout

shares = st.floats(0.0, 1.0)


def settings_of(least: float, most: float) -> CoverageSettings:
    """Both factors, in whatever order."""
    return CoverageSettings(
        min_wait_after_coverage_factor=min(least, most),
        max_wait_after_coverage_factor=max(least, most),
    )


@st.composite
def queries(draw: st.DrawFn) -> tuple[float, float, list[tuple[int, float]]]:
    """A share, a deadline, and each shard's documents and the time at which it answers."""
    wait_for = draw(shares)
    deadline = draw(st.floats(0.001, 10.0))
    parts = draw(
        st.lists(st.tuples(st.integers(0, 1000), st.floats(0.0, 12.0)), min_size=1, max_size=20)
    )
    return wait_for, deadline, sorted(parts, key=lambda part: part[1])


@given(queries(), shares, shares)
def test_until_falls_and_is_never_late(
    query: tuple[float, float, list[tuple[int, float]]], least: float, most: float
) -> None:
    """It is the deadline while too little is covered, and thereafter never later than before."""
    wait_for, deadline, parts = query
    enough = AdaptiveTimeout(wait_for, settings_of(least, most))
    total = sum(documents for documents, _ in parts)
    covered, before = 0, math.inf
    for number, (documents, now) in enumerate(parts, 1):
        covered += documents
        until = enough.until(
            covered, total, len(parts) - number, len(parts), min(now, deadline), deadline
        )
        assert until <= min(before, deadline)
        if total and covered / total < wait_for - 1e-9:
            assert until == deadline
        before = until


@given(st.integers(0, 100), st.integers(1, 10**9))
def test_a_whole_percentage_is_reached(percent: int, hundredths: int) -> None:
    """A share needs exactly its number of documents, whatever floats make of it, and no fewer."""
    settings = CoverageSettings(max_wait_after_coverage_factor=0.5)
    least = percent * hundredths
    at = AdaptiveTimeout(percent / 100, settings).until(least, 100 * hundredths, 2, 3, 0.0, 1.0)
    assert at <= 0.5
    if percent and hundredths < 10**7:
        early = AdaptiveTimeout(percent / 100, settings)
        assert early.until(least - 1, 100 * hundredths, 2, 3, 0.0, 1.0) == 1.0


# By hand, from the formula of AdaptiveTimeoutHandler: 100 nodes of which 80 suffice, 100 ms left
# when they have answered. At most 20 may be missing, so that the slope runs over 20 - 1.
@pytest.mark.parametrize(
    ("least", "most", "num_pending", "wait_ms"),
    [
        (0.0, 1.0, 1, 0.0),
        (0.0, 1.0, 20, 100.0),
        (0.1, 0.5, 1, 10.0),
        (0.1, 0.5, 20, 50.0),
        (0.0, 0.5, 12, 50.0 * 11 / 19),
        (0.2, 0.4, 6, 20.0 + 20.0 * 5 / 19),
    ],
)
def test_waits_as_vespa_does(least: float, most: float, num_pending: int, wait_ms: float) -> None:
    """The wait is the formula's: the shortest for one missing shard, the longest for the most."""
    enough = AdaptiveTimeout(0.8, settings_of(least, most))
    until = enough.until(100 - num_pending, 100, num_pending, 100, 0.2, 0.3)
    assert until == pytest.approx(0.2 + wait_ms / 1000)


def test_the_waits_are_set_once() -> None:
    """The factors are of the time that was left when enough was covered, not of what is left."""
    enough = AdaptiveTimeout(0.5, settings_of(0.1, 0.5))
    assert enough.until(5, 10, 5, 10, 1.0, 2.0) == pytest.approx(1.5)
    assert enough.until(9, 10, 1, 10, 1.2, 2.0) == pytest.approx(1.3)


def test_uneven_shards_wait_the_longest_at_most() -> None:
    """When one shard alone holds enough, as many missing as there are wait no longer than that."""
    enough = AdaptiveTimeout(0.9, settings_of(0.0, 0.5))
    assert enough.until(950, 1000, 19, 20, 0.0, 1.0) == pytest.approx(0.5)


def test_nothing_is_enough_of_nothing() -> None:
    """An empty collection is waited for: there is no share of it."""
    assert AdaptiveTimeout(0.5, CoverageSettings()).until(0, 0, 3, 8, 0.0, 1.0) == 1.0
