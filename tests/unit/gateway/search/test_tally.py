"""How searches are counted."""

import random

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.live.history import quantile_ms
from hedgerow.gateway.search.coverage.measurement import coverage_of
from hedgerow.gateway.search.tally import BOUNDS_MS, SearchTally
from tests.support.sample_results import make_result

_NONE = dict.fromkeys(Outcome, 0)


def test_each_search_is_counted_once_by_how_it_ended() -> None:
    """Full, partial and insufficient answers add up, and so do the parts of all shards."""
    tally = SearchTally()
    partial = make_result(outcomes={**_NONE, Outcome.OK: 7, Outcome.TIMED_OUT: 1})
    nothing = make_result(
        coverage=coverage_of(0, 8, {"failed": 8}), outcomes={**_NONE, Outcome.FAILED: 8}
    )
    tally.add_full(8, 3.0)
    tally.add_full(8, 4.0)
    tally.add_partial(partial)
    tally.add_insufficient(nothing)
    assert (tally.full, tally.partial, tally.insufficient) == (2, 1, 1)
    assert tally.coverage == 1 + 1 + partial.coverage.fraction
    assert dict(zip(Outcome, tally.parts, strict=True)) == {
        **_NONE,
        Outcome.OK: 23,
        Outcome.TIMED_OUT: 1,
        Outcome.FAILED: 8,
    }
    assert sum(tally.times) == 4


@given(
    st.lists(st.floats(0.26, 60_000), min_size=1, max_size=50),
    st.sampled_from([0.5, 0.9, 0.99]),
)
def test_a_quantile_is_off_by_less_than_a_bucket(times_ms: list[float], share: float) -> None:
    """What is read from the buckets differs from an answer time at that rank by at most 19 %."""
    tally = SearchTally()
    for took_ms in times_ms:
        tally.add_full(8, took_ms)
    found = quantile_ms(tally.times, share)
    assert found is not None
    rank = max(0, -int(-share * len(times_ms) // 1) - 1)  # the smallest that `share` do not exceed
    exact = sorted(times_ms)[rank]
    assert exact / 1.2 <= found <= exact * 1.2


def test_every_answer_time_has_a_bucket() -> None:
    """Times of 0 ms, and beyond the longest deadline, have a bucket too."""
    tally = SearchTally()
    for took_ms in (0.0, BOUNDS_MS[-1], 10 * BOUNDS_MS[-1], random.uniform(1, 100)):
        tally.add_full(8, took_ms)
    assert sum(tally.times) == 4
    assert quantile_ms(tally.times, 1.0) is not None
    assert quantile_ms(SearchTally().times, 0.5) is None
