"""Histograms against counting by hand, and their way through a heartbeat."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.metrics.histogram import LAG_BOUNDS, Histogram

BOUNDS = (0.1, 0.5, 1.0)
VALUES = st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.11, 0.5, 0.75, 1.0, 1.5]))


@given(VALUES)
def test_each_bucket_counts_the_values_up_to_its_bound(values: list[float]) -> None:
    """A bound is part of its bucket, buckets add up, and the last one has everything."""
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.observe(value)
    found = histogram.distribution()
    counted = [sum(value <= bound for value in values) for bound in BOUNDS]
    assert list(found.cumulative) == [*counted, len(values)]
    assert found.total == pytest.approx(sum(values))


@given(VALUES, st.integers(0, 9))
def test_many_observations_at_once_are_as_many_one_by_one(values: list[float], num: int) -> None:
    """`observe_times` and `add` change nothing but the time that it takes."""
    one_by_one, at_once, both = Histogram(BOUNDS), Histogram(BOUNDS), Histogram(BOUNDS)
    for value in values:
        both.observe(value)
        at_once.observe_times(value, num)
        for _ in range(num):
            one_by_one.observe(value)
    assert at_once.counts == one_by_one.counts
    assert at_once.total == pytest.approx(one_by_one.total)
    both.add(at_once)
    assert sum(both.counts) == len(values) * (num + 1)


def test_a_heartbeat_carries_a_histogram() -> None:
    """What is read after MessagePack is what was observed."""
    histogram = Histogram(LAG_BOUNDS)
    for value in (0.002, 0.3, 60.0):
        histogram.observe(value)
    packed = msgpack.unpackb(msgpack.packb(histogram.to_json()))
    assert Histogram.read(LAG_BOUNDS, packed) == histogram.distribution()


@pytest.mark.parametrize("packed", [None, [], [1.0, 2], {"a": 1}, ["1"] * (len(LAG_BOUNDS) + 2)])
def test_what_another_version_sends_is_left_out(packed: object) -> None:
    """A histogram with other bounds, or no histogram, is None and not an error."""
    assert Histogram.read(LAG_BOUNDS, packed) is None
