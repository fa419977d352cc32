"""How tasks are dealt out, held against step-by-step models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.executors.process_pool.batching import (
    ServiceTime,
    restart_delay_s,
    share,
    startable,
)


@given(service_us=st.floats(0.1, 1e7), window_us=st.floats(100, 1e5), most=st.integers(1, 256))
def test_a_scorer_takes_what_starts_within_the_window(
    service_us: float, window_us: float, most: int
) -> None:
    """Tasks run in a row: those whose turn comes before the window ends, the first always."""
    starts = 1
    while starts < most and starts * service_us < window_us:
        starts += 1
    assert startable(service_us, window_us, most) == starts


@given(
    num_waiting=st.integers(1, 500),
    num_idle=st.integers(1, 16),
    limit=st.integers(1, 64),
    service_us=st.floats(0.0, 1e6),
)
def test_dealing_out_leaves_nothing_to_a_scorer_that_could_have_had_it(
    num_waiting: int, num_idle: int, limit: int, service_us: float
) -> None:
    """No share is empty or over the limit, and work is left only when every scorer is full."""
    left, idle = num_waiting, num_idle
    while left and idle:
        taken = share(left, idle, limit, service_us)
        assert 1 <= taken <= min(limit, left)
        left, idle = left - taken, idle - 1
    assert left == max(0, num_waiting - num_idle * limit)


def test_expensive_works_spread_and_cheap_ones_stay_together() -> None:
    """Eight tasks of 10 ms use all four scorers; eight of 1 µs are not worth four frames."""
    assert share(8, 4, 64, 10_000.0) == 2
    assert share(8, 4, 64, 1.0) == 8


def test_another_scorer_gets_tasks_only_if_each_has_enough_to_do() -> None:
    """Eight tasks of 24 µs are one scorer's work; of 26 µs, they give two of them 104 µs each."""
    assert share(8, 4, 64, 24.0) == 8
    assert share(8, 4, 64, 26.0) == 4
    assert share(2, 2, 64, 110.0) == 1


def test_the_service_time_follows_a_change_and_forgets_an_outlier() -> None:
    """A few hundred tasks at a new pace are enough; the estimate stays within what was seen."""
    service = ServiceTime(4000.0)
    for _ in range(300):
        service.observe(1, 100.0)
    assert service.estimate_us == pytest.approx(100.0, rel=0.01)
    service.observe(1, 50_000.0)
    assert 100.0 < service.estimate_us < 50_000.0
    for _ in range(300):
        service.observe(1, 100.0)
    assert service.estimate_us == pytest.approx(100.0, rel=0.01)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0.1, 1e6)), min_size=1, max_size=50))
def test_the_service_time_stays_between_the_extremes(batches: list[tuple[int, float]]) -> None:
    """An average is never below the least or above the greatest mean that went into it."""
    means = [elapsed_us / num_tasks for num_tasks, elapsed_us in batches]
    service = ServiceTime(means[0])
    for num_tasks, elapsed_us in batches:
        service.observe(num_tasks, elapsed_us)
    assert min(means) * (1 - 1e-9) <= service.estimate_us <= max(means) * (1 + 1e-9)


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_a_failing_start_is_tried_ever_less_often_but_always_again(
    num_failures: int, draw: float
) -> None:
    """The delay grows with each failure, is spread by the draw, and has a ceiling."""
    delay_s = restart_delay_s(num_failures, lambda: draw)
    assert 0 < delay_s <= restart_delay_s(num_failures, lambda: 1.0)
    assert delay_s <= restart_delay_s(num_failures + 1, lambda: draw)
    assert delay_s >= restart_delay_s(num_failures, lambda: 1.0) / 2
    assert delay_s <= 60.0


def test_a_scorer_that_served_is_replaced_at_once() -> None:
    """Without a failed start there is no delay."""
    assert restart_delay_s(0, lambda: 0.9) == 0.0
