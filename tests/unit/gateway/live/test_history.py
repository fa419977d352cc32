"""The points of the last minutes."""

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.live.history import NUM_POINTS, History, Totals
from hedgerow.gateway.search.coverage.measurement import coverage_of
from hedgerow.gateway.search.tally import SearchTally
from tests.support.sample_results import make_result

_NONE = dict.fromkeys(Outcome, 0)


def test_a_point_holds_what_was_counted_since_the_last_one() -> None:
    """Earlier counts are not in it; a second without searches has no times and no coverage."""
    tally = SearchTally()
    half = make_result(
        coverage=coverage_of(2, 4, {"timed_out": 2}),
        outcomes={**_NONE, Outcome.OK: 2, Outcome.TIMED_OUT: 2},
        took_ms=100.0,
    )
    tally.add_full(4, 8.0)
    history = History(Totals.of(tally, refused=3, hedges_sent=5))
    for _ in range(3):
        tally.add_full(4, 8.0)
    tally.add_partial(half)
    tally.add_insufficient(half)
    point = history.add(
        Totals.of(tally, refused=10, hedges_sent=7, hedges_won=1, in_flight=2, limit=64), 5_000
    )
    assert (point.full, point.partial, point.insufficient, point.refused) == (3, 1, 1, 7)
    assert point.outcomes == {"ok": 16, "timed_out": 4}
    assert point.coverage == 0.8
    assert (point.hedges_sent, point.hedges_won, point.in_flight, point.limit) == (2, 1, 2, 64)
    assert point.p50_ms is not None
    assert point.p99_ms is not None
    assert 6.5 < point.p50_ms < 9.6
    assert 84 < point.p99_ms < 119
    idle = history.add(Totals.of(tally, refused=10, hedges_sent=7, hedges_won=1), 6_000)
    assert (idle.full, idle.p50_ms, idle.p99_ms, idle.coverage, idle.outcomes) == (
        0,
        None,
        None,
        None,
        {},
    )


def test_only_the_last_minutes_are_kept() -> None:
    """The oldest point goes when a new one comes."""
    totals = Totals.of(SearchTally())
    history = History(totals)
    for second in range(NUM_POINTS + 7):
        history.add(totals, second)
    assert [history.points[0].at_ms, len(history.points)] == [7, NUM_POINTS]
