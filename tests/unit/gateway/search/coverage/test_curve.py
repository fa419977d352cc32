"""The curve of coverage against deadline, against queries whose every time is known."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.search.coverage.curve import CoverageCurve, LateReplies

STEP = 0.05  # the distance of the curve's points, as a share


def true_coverage(needed_s: list[float], deadline_ms: float) -> float:
    """The share that is there by a deadline."""
    return sum(1000 * one <= deadline_ms for one in needed_s) / len(needed_s)


@given(st.lists(st.floats(0.000_2, 50.0), min_size=1, max_size=60), st.integers(0, 60))
def test_the_curve_is_the_share_that_has_come(needed_s: list[float], num_never: int) -> None:
    """Where nothing was cut off, each point is the true share, a step more or less of time."""
    curve = CoverageCurve()
    for one in needed_s:
        curve.add(one, 1.0, 0.0)
    for _ in range(num_never):
        curve.never(1.0, 0.0)
    points = curve.curve()
    assert points == sorted(points)
    assert [coverage for _, coverage in points] == sorted(coverage for _, coverage in points)
    num = len(needed_s) + num_never
    for deadline_ms, coverage in points:
        low = true_coverage(needed_s, deadline_ms * (1 - 1e-9)) * len(needed_s) / num
        high = true_coverage(needed_s, deadline_ms * (1 + 1e-9)) * len(needed_s) / num
        assert low - 1e-9 <= coverage <= high + 1e-9


def test_deadlines_of_others_tell_about_longer_ones() -> None:
    """Half of the queries end at 50 ms and half at 200: the curve is true up to 200 ms."""
    rng = random.Random(3)
    curve, late = CoverageCurve(), LateReplies()
    everything = []
    for query_id in range(4000):
        deadline_s = 0.05 if query_id % 2 else 0.2
        times = [rng.lognormvariate(-3, 1) for _ in range(8)]
        everything += times
        late.on_end(
            query_id,
            curve,
            [(took_s, 100) for took_s in times if took_s <= deadline_s],
            {shard: 100 for shard, took_s in enumerate(times) if took_s > deadline_s},
            0,
            started=0.0,
            overhead_s=0.0,
            until=deadline_s,
            now=deadline_s,
        )
    for deadline_ms in (20, 49, 75, 100, 150, 190):
        true = true_coverage(everything, deadline_ms)
        assert curve.coverage(deadline_ms) == pytest.approx(true, abs=0.02), deadline_ms
    gain = true_coverage(everything, 120) - true_coverage(everything, 60)
    assert curve.gain(60, 60) == pytest.approx(gain, abs=0.03)
    # No query waited longer: from there on the curve says no more than it knows.
    assert curve.coverage(10_000) == pytest.approx(true_coverage(everything, 200), abs=0.02)


def end(late: LateReplies, curve: CoverageCurve, query_id: int, **changes: float) -> None:
    """A query over four shards of 1,000, 1,000, 1,000 and 7,000 documents; the last is missing."""
    times: dict[str, float] = {"started": 0.0, "overhead_s": 0.0, "until": 2.0, "now": 0.1}
    times |= changes
    late.on_end(
        query_id,
        curve,
        [(0.01, 1000), (0.02, 1000), (0.04, 1000)],
        {3: 7000},
        0,
        started=times["started"],
        overhead_s=times["overhead_s"],
        until=times["until"],
        now=times["now"],
    )


def test_a_late_reply_counts_with_its_time_and_weight() -> None:
    """A reply after the end adds its documents at its time, overhead included, and once."""
    curve, late = CoverageCurve(), LateReplies()
    end(late, curve, 7, overhead_s=0.02)
    assert curve.coverage(150) == pytest.approx(0.3)
    late.on_late(7, 3, 0.115)
    late.on_late(7, 3, 0.115)
    late.on_late(8, 3, 0.115)
    assert len(late) == 0
    assert curve.coverage(120) == pytest.approx(0.3)
    assert curve.coverage(135 * (1 + STEP)) == pytest.approx(1.0)
    assert curve.gain(100, 50) == pytest.approx(0.7)


def test_what_never_comes_is_missing() -> None:
    """A shard that has not answered until its worker must have stopped is missing all the while."""
    curve, late = CoverageCurve(), LateReplies()
    end(late, curve, 1)
    late.expire(1.99)
    assert len(late) == 1
    late.expire(2.0)
    assert len(late) == 0
    late.on_late(1, 3, 2.1)  # too late to be attributed
    assert curve.coverage(1900) == pytest.approx(0.3)


def test_what_was_cancelled_says_nothing_of_later() -> None:
    """Parts that were cancelled, or stopped soon after, do not lower the curve beyond."""
    curve, late = CoverageCurve(), LateReplies()
    for query_id in range(10):
        end(late, curve, query_id, until=0.1)
    end(late, curve, 10)
    late.on_late(10, 3, 0.12, is_ok=False)
    assert len(late) == 0
    for query_id in range(20, 30):
        end(late, curve, query_id)
        late.on_late(query_id, 3, 0.15)
    assert curve.coverage(99) == pytest.approx(0.3)
    assert curve.coverage(160) == pytest.approx(1.0)


def test_memory_is_bounded() -> None:
    """However many queries end incomplete, only a bounded number of the last is remembered."""
    curve, late = CoverageCurve(), LateReplies(max_tracked=5)
    for query_id in range(100):
        end(late, curve, query_id)
    assert len(late) == 5
    late.on_late(94, 3, 0.11)
    assert len(late) == 5
    late.on_late(95, 3, 0.11)
    assert len(late) == 4


def test_one_patient_query_does_not_speak_for_all() -> None:
    """Where hardly anybody waited, the curve ends, instead of resting on a single query."""
    curve, late = CoverageCurve(), LateReplies()
    for query_id in range(100):
        end(late, curve, query_id, until=0.1)
    end(late, curve, 100)
    late.on_late(100, 3, 1.5)
    assert curve.coverage(5000) == pytest.approx(0.3)


def test_an_empty_collection_has_no_curve() -> None:
    """Without documents, and before the first query, there is nothing to show."""
    curve, late = CoverageCurve(), LateReplies()
    late.on_end(1, curve, [(0.1, 0)], {1: 0}, 0, started=0.0, overhead_s=0.0, until=1.0, now=0.2)
    assert curve.curve() == []
    assert curve.coverage(100) == 0.0
    assert len(late) == 0


def test_the_past_fades() -> None:
    """After a half-life, what was known weighs half as much as what is new."""
    curve = CoverageCurve(half_life_s=100.0)
    for _ in range(100):
        curve.add(0.01, 1.0, 0.0)
    for _ in range(100):
        curve.add(1.0, 1.0, 100.0)
    assert curve.coverage(500) == pytest.approx(1 / 3, abs=0.01)
