"""When workers begin and end to serve the shards of a split."""

import random
from collections.abc import Callable

import pytest

from hedgerow.shard_worker.layouts.apart import begins_after_s, ends_after_s

BOTH = pytest.mark.parametrize(
    ("after_s", "each_s"), [(begins_after_s, 0.25), (ends_after_s, 0.5)], ids=["begin", "end"]
)
After = Callable[[int, Callable[[], float]], float]


@BOTH
def test_the_workers_of_a_machine_do_it_at_moments_of_their_own(
    after_s: After, each_s: float
) -> None:
    """The moments are spread evenly over the time that all of them have together."""
    draw = random.Random(1).random
    moments = sorted(after_s(4, draw) for _ in range(400))
    assert moments[0] >= 0.0
    assert moments[-1] <= 4 * each_s
    quarters = [sum(at // each_s == quarter for at in moments) for quarter in range(4)]
    assert min(quarters) > 70


@BOTH
def test_the_only_worker_of_a_machine_does_it_at_once(after_s: After, each_s: float) -> None:
    """There is no other worker whose searches it could delay."""
    assert after_s(1, lambda: 1.0) == 0.0 < each_s


@BOTH
def test_a_split_does_not_wait_for_long_on_a_machine_with_many_workers(
    after_s: After, each_s: float
) -> None:
    """Eight workers' time is the most: with a hundred, several do it at a time."""
    assert after_s(100, lambda: 1.0) == 8 * each_s
