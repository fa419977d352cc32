"""What is learnt from recent times, in virtual numbers."""

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.policies.latency import AnswerReserve, FetchReserve, ShardLatency

durations = st.floats(0.0, 10.0)


def test_median_follows_the_shard() -> None:
    """A shard's median comes near the true one of its samples, and stays its own."""
    latency = ShardLatency(2)
    rng = random.Random(7)
    samples = [rng.lognormvariate(-5, 1) for _ in range(64)]
    for sample in samples:
        latency.record(0, sample)
        latency.record(1, 3.0)
    ordered = sorted(samples)
    median = latency.median_s(0)
    assert median is not None
    assert ordered[26] <= median <= ordered[38]  # within a tenth of the ranks
    assert latency.median_s(1) == statistics.median([3.0])


def test_median_forgets() -> None:
    """A shard that becomes fast again is known as fast after a hundred answers."""
    latency = ShardLatency(1)
    for _ in range(1000):
        latency.record(0, 2.0)
    for _ in range(100):
        latency.record(0, 0.01)
    assert latency.median_s(0) == 0.01


def test_first_answer_counts() -> None:
    """Nothing is known before the first answer, something is after it."""
    latency = ShardLatency(2)
    assert latency.median_s(0) is None
    assert latency.needed_s(0) == 0.0
    latency.record(1, 0.5)
    assert latency.median_s(0) is None
    assert latency.needed_s(0) == 0.5
    latency.record(0, 0.25)
    assert latency.needed_s(0) == 0.25
    assert latency.needed_s(1) == 0.5


@given(st.lists(st.tuples(durations, st.booleans()), max_size=300), st.floats(0.000_001, 60.0))
def test_reserve_never_takes_more_than_half(
    fetches: list[tuple[float, bool]], deadline_s: float
) -> None:
    """Whatever was learnt, the search keeps at least half of the time, and the fetch some."""
    reserve = FetchReserve()
    for duration_s, is_late in fetches:
        reserve.record(duration_s, is_late=is_late)
    kept = reserve.reserve_s(deadline_s)
    assert 0 < kept <= deadline_s / 2


def test_reserve_covers_nearly_every_fetch() -> None:
    """The reserve is enough for 97 of 100 fetches like the recent ones."""
    reserve = FetchReserve(floor_s=0.0)
    rng = random.Random(11)
    for _ in range(512):
        reserve.record(rng.expovariate(1 / 0.004))
    kept = reserve.reserve_s(60.0)
    fresh = [rng.expovariate(1 / 0.004) for _ in range(10_000)]
    assert sum(sample <= kept for sample in fresh) >= 9_700
    assert kept < max(fresh)


def test_reserve_has_a_floor() -> None:
    """Fetches that take no time do not bring the reserve to nothing."""
    reserve = FetchReserve(floor_s=0.002)
    for _ in range(300):
        reserve.record(0.0)
    assert reserve.reserve_s(1.0) == 0.002


def test_first_query_has_a_reserve() -> None:
    """Before any fetch, the guess is kept."""
    assert FetchReserve(initial_s=0.02).reserve_s(1.0) == 0.02


@pytest.mark.parametrize("need_s", [0.005, 0.02, 0.07])
def test_reserve_grows_until_fetches_fit(need_s: float) -> None:
    """When a hung shard leaves each fetch only the reserve, the reserve finds what fetches need."""
    reserve = FetchReserve(initial_s=0.002)
    for _ in range(600):
        given_s = reserve.reserve_s(0.3)
        reserve.record(min(need_s, given_s), is_late=need_s > given_s)
    assert need_s <= reserve.reserve_s(0.3) <= max(2 * need_s, 0.01)


def test_fetches_without_time_do_not_shrink_the_reserve() -> None:
    """Fetches that were late before they began do not teach that a fetch takes no time."""
    reserve = FetchReserve()
    for _ in range(300):
        reserve.record(0.05)
    for _ in range(300):
        reserve.record(0.0, is_late=True)
    assert reserve.reserve_s(1.0) >= 0.05


def test_reserve_shrinks_again() -> None:
    """Once fetches are fast again, what slow ones cost is given back to the search."""
    reserve = FetchReserve(floor_s=0.0)
    for _ in range(256):
        reserve.record(0.1)
    assert reserve.reserve_s(1.0) >= 0.1
    for _ in range(300):
        reserve.record(0.003)
    assert reserve.reserve_s(1.0) <= 0.004


@given(st.lists(durations, max_size=50), st.floats(0.001, 60.0))
def test_the_answers_reserve_covers_the_worst_of_late(
    overruns: list[float], deadline_s: float
) -> None:
    """What an answer has just needed is kept for the next, unless it is a tenth of its deadline."""
    reserve = AnswerReserve()
    for number, overrun_s in enumerate(overruns):
        reserve.record(overrun_s, 100 + number / 200)
    kept = reserve.reserve_s(deadline_s)
    assert kept <= deadline_s / 10 + 1e-12
    # The decay within a quarter of a second is below 5 %.
    assert kept >= min(0.95 * max(overruns, default=0.0), deadline_s / 10) - 1e-12


@pytest.mark.parametrize("answers_per_s", [1, 100, 5000])
def test_a_stall_is_remembered_by_the_clock(answers_per_s: int) -> None:
    """However many answers come, seconds after a stall it is still provided for, later it is not.

    Half of it after 10 s; after 100 s nothing but the least.
    """
    reserve = AnswerReserve(floor_s=0.001)
    reserve.record(0.1, 10.0)
    for number in range(10 * answers_per_s):
        reserve.record(0.0, 10 + (number + 1) / answers_per_s)
    assert reserve.reserve_s(60.0) == pytest.approx(0.05)
    for number in range(90 * answers_per_s):
        reserve.record(0.0, 20 + (number + 1) / answers_per_s)
    assert reserve.reserve_s(60.0) == 0.001
