"""Which shards are asked, and what the ends of their parts teach their breakers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.gateway.policies.breaker import State, Transition
from hedgerow.gateway.policies.pressure import Pressure
from hedgerow.gateway.policies.shard_result import ShardResult
from hedgerow.gateway.search.guards.breakers import (
    CROWDED_S,
    CROWDED_SILENCE_S,
    QUERY_FAULT_CODES,
    STALL_S,
    Breakers,
)
from hedgerow.gateway.search.plan import Skipped, make_plan


def make_breakers(num_shards: int = 3, **settings: float) -> Breakers:
    """Breakers without jitter."""
    config = BreakerSettings.model_validate({"wait_jitter": 0, **settings})
    return Breakers(num_shards, config, lambda: 0.5)


def end(
    breakers: Breakers,
    shard: int,
    outcome: Outcome,
    duration_s: float = 0.3,
    failure_code: str = "",
    now: float = 0.0,
) -> None:
    """One part of a query, from its permit to its end."""
    permit = breakers[shard].allow(now)
    assert permit is not None
    part = ShardResult(outcome, "", failure_code, None, None, "", duration_s)
    breakers.finish([shard], [permit], {shard: part}, now)


def open_breaker(breakers: Breakers, shard: int, now: float = 0.0) -> None:
    """Open one by failures in a row."""
    while breakers[shard].state(now) is State.CLOSED:
        end(breakers, shard, Outcome.FAILED, now=now)


def test_asks_the_live_shards() -> None:
    """A shard without a live worker is unavailable at once, and the others are asked."""
    plan = make_plan([True, False, True], make_breakers(), now=0.0)
    assert plan.shards == (0, 2)
    assert plan.not_asked == {1: (Outcome.UNAVAILABLE, "no live worker")}
    plan = make_plan([False, True, True], make_breakers(), now=0.0, no_worker="why")
    assert plan.not_asked == {0: (Outcome.UNAVAILABLE, "why")}


def test_a_shard_without_a_match_is_not_asked() -> None:
    """Whether its worker is alive or not, and its breaker keeps its probe."""
    breakers = make_breakers(wait_duration_in_open_state_s=1.0)
    open_breaker(breakers, 1)
    plan = make_plan([True, True, False], breakers, now=5.0, skipped=Skipped(frozenset({1, 2})))
    assert plan.shards == (0,)
    assert {outcome for outcome, _ in plan.not_asked.values()} == {Outcome.SKIPPED}
    assert list(plan.skipped) == [1, 2]
    assert make_plan([True, True, False], breakers, now=5.0).shards == (0, 1)  # the probe


def test_says_when_the_next_probe_is_due() -> None:
    """A shard with an open breaker is not asked, and the reason names the time of its probe."""
    breakers = make_breakers(wait_duration_in_open_state_s=1.0)
    open_breaker(breakers, 1)
    plan = make_plan([True] * 3, breakers, now=0.2)
    assert plan.shards == (0, 2)
    assert plan.not_asked == {1: (Outcome.BREAKER_OPEN, "breaker open, next probe in 0.8 s")}


def test_one_query_probes_and_the_next_is_refused() -> None:
    """After the wait one query's plan holds the probe, and the next one says so."""
    breakers = make_breakers(wait_duration_in_open_state_s=1.0)
    open_breaker(breakers, 1)
    assert len(make_plan([True] * 3, breakers, now=1.0).shards) == 3
    refused = make_plan([True] * 3, breakers, now=1.0)
    assert refused.not_asked == {
        1: (Outcome.BREAKER_OPEN, "breaker half-open, a probe is under way")
    }


def test_forced_open_says_so() -> None:
    """A breaker forced open by hand is named as that, without a time."""
    breakers = make_breakers()
    breakers[0].force_open(0)
    plan = make_plan([True] * 3, breakers, now=9.0)
    assert plan.not_asked == {0: (Outcome.BREAKER_OPEN, "breaker forced open")}


def test_dead_shard_wastes_no_probe() -> None:
    """A plan does not take the probe of a shard that has no worker to answer it."""
    breakers = make_breakers(wait_duration_in_open_state_s=1.0)
    open_breaker(breakers, 0)
    make_plan([False, True, True], breakers, now=1.0)
    assert make_plan([True] * 3, breakers, now=1.0).shards == (0, 1, 2)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=64))
def test_every_shard_is_in_one_place(shards: list[tuple[bool, bool]]) -> None:
    """Each shard is either asked or has ended, never both, and asked only if live and closed."""
    breakers = make_breakers(len(shards), consecutive_failures=1)
    for shard, (_, is_open) in enumerate(shards):
        if is_open:
            open_breaker(breakers, shard)
    plan = make_plan([is_live for is_live, _ in shards], breakers, now=0.0)
    assert sorted([*plan.shards, *plan.not_asked]) == list(range(len(shards)))
    wanted = [shard for shard, (live, is_open) in enumerate(shards) if live and not is_open]
    assert list(plan.shards) == wanted


def test_only_the_sick_shard_opens() -> None:
    """Failures of one shard open its breaker and no other."""
    breakers = make_breakers()
    for _ in range(5):
        end(breakers, 0, Outcome.OK)
        end(breakers, 1, Outcome.TIMED_OUT)
    assert [breaker.state(0.0) for breaker in breakers] == [
        State.CLOSED,
        State.OPEN,
        State.CLOSED,
    ]


@pytest.mark.parametrize("outcome", [Outcome.UNAVAILABLE, Outcome.CANCELLED, Outcome.BREAKER_OPEN])
def test_what_is_no_fault_of_the_shard_is_ignored(outcome: Outcome) -> None:
    """A part that the shard never answered for a reason of the gateway's own opens nothing."""
    breakers = make_breakers(consecutive_failures=1)
    for _ in range(10):
        end(breakers, 0, outcome)
    assert breakers[0].state(0.0) is State.CLOSED


@pytest.mark.parametrize("code", sorted(QUERY_FAULT_CODES))
def test_a_bad_query_opens_nothing(code: str) -> None:
    """A failure that is the query's own fault does not take the shard from other queries."""
    breakers = make_breakers(consecutive_failures=1)
    end(breakers, 0, Outcome.FAILED, failure_code=code)
    assert breakers[0].state(0.0) is State.CLOSED


@pytest.mark.parametrize("code", ["failed", "crashed", "lane_unavailable", ""])
def test_a_sick_shard_opens(code: str) -> None:
    """A failure of the shard itself counts, whatever it is called."""
    breakers = make_breakers(consecutive_failures=1)
    end(breakers, 0, Outcome.FAILED, failure_code=code)
    assert breakers[0].state(0.0) is State.OPEN


def test_a_deadline_that_nobody_meets_is_ignored() -> None:
    """Time-outs of callers that gave less than the shard's median do not open its breaker."""
    breakers = make_breakers()
    for _ in range(20):
        end(breakers, 0, Outcome.OK, duration_s=0.05)
    for _ in range(20):
        end(breakers, 0, Outcome.TIMED_OUT, duration_s=0.04)
    assert breakers[0].state(0.0) is State.CLOSED
    for _ in range(5):
        end(breakers, 0, Outcome.TIMED_OUT, duration_s=0.06)
    assert breakers[0].state(0.0) is State.OPEN


def test_a_caller_s_tight_deadlines_open_nothing_while_the_shard_answers_others() -> None:
    """Time-outs just above the median are the caller's, until the shard is silent to all."""
    replied_at = [0.0]
    breakers = Breakers(1, BreakerSettings(wait_jitter=0), lambda: 0.5, replied_at=replied_at)
    for number in range(200):
        now = number / 100
        if number % 5 == 0:  # others are answered
            end(breakers, 0, Outcome.OK, duration_s=0.005, now=now)
            replied_at[0] = now
        end(breakers, 0, Outcome.TIMED_OUT, duration_s=0.008, now=now)
        assert breakers[0].state(now) is State.CLOSED
    for number in range(5):
        end(breakers, 0, Outcome.TIMED_OUT, duration_s=0.008, now=10.0 + number / 100)
    assert breakers[0].state(10.1) is State.OPEN


def test_a_quick_shard_is_not_to_blame_for_a_slow_query() -> None:
    """It takes 2 ms for most, and a query that takes 20 is given 30 in vain: that is no failure."""
    breakers = Breakers(1, BreakerSettings(), lambda: 0.5, replied_at=[0.9])
    for _ in range(20):
        end(breakers, 0, Outcome.OK, duration_s=0.002, now=0.9)
    for _ in range(10):
        end(breakers, 0, Outcome.TIMED_OUT, duration_s=0.03, now=1.0)
    assert breakers[0].state(1.0) is State.CLOSED


@pytest.mark.parametrize(
    ("num_missed", "has_replied", "expected"),
    [(5, False, State.OPEN), (19, True, State.CLOSED), (20, True, State.OPEN)],
)
def test_a_deadline_that_suffices_for_others_counts(
    num_missed: int, has_replied: bool, expected: State
) -> None:
    """A shard that answers some and not those with ample time is at fault, but not by a row.

    A worker that dies takes several requests with it, and another replica answers the next.
    """
    replied_at = [1.0, 1.0] if has_replied else [0.8, 1.0]
    breakers = Breakers(2, BreakerSettings(), lambda: 0.5, replied_at=replied_at)
    for _ in range(20):
        end(breakers, 0, Outcome.OK, duration_s=0.005, now=0.8)
    missed = ShardResult(Outcome.TIMED_OUT, "", "", None, None, "", 0.05)
    answered = ShardResult(Outcome.OK, "", "", None, None, "", 0.005)
    for _ in range(num_missed):
        plan = make_plan([True, True], breakers, 1.0)
        breakers.finish(plan.shards, plan.permits, {0: missed, 1: answered}, 1.0)
    assert [breaker.state(1.0) for breaker in breakers] == [expected, State.CLOSED]


def test_a_silent_shard_is_measured_by_the_others() -> None:
    """A shard that has never answered is held to what the fastest of the others needs."""
    breakers = make_breakers(consecutive_failures=1)
    for shard, duration_s in ((1, 0.05), (2, 0.5)):
        end(breakers, shard, Outcome.OK, duration_s=duration_s)
    end(breakers, 0, Outcome.TIMED_OUT, duration_s=0.04)
    assert breakers[0].state(0.0) is State.CLOSED
    end(breakers, 0, Outcome.TIMED_OUT, duration_s=0.06)
    assert breakers[0].state(0.0) is State.OPEN


def test_a_shard_that_becomes_slow_opens() -> None:
    """Time-outs do not teach that a shard needs long, which would excuse the next ones."""
    breakers = make_breakers()
    for _ in range(100):
        end(breakers, 0, Outcome.OK, duration_s=0.01)
    for _ in range(5):
        end(breakers, 0, Outcome.TIMED_OUT, duration_s=0.3)
    assert breakers[0].state(0.0) is State.OPEN


def test_ok_but_slow_counts_as_slow() -> None:
    """Answers in time that are slower than the threshold open at the slow-call rate."""
    breakers = make_breakers(
        slow_call_duration_threshold_ms=100, slow_call_rate_threshold=50, minimum_number_of_calls=4
    )
    for duration_s in (0.01, 0.2, 0.01, 0.2):
        end(breakers, 0, Outcome.OK, duration_s=duration_s)
    assert breakers[0].state(0.0) is State.OPEN


@pytest.mark.parametrize("num_missing", [1, 2, 3, 6, 7, 8])
@pytest.mark.parametrize(("num_shards", "most_to_blame"), [(1, 0), (2, 1), (3, 1), (8, 2), (20, 6)])
def test_overload_opens_no_breaker(num_shards: int, most_to_blame: int, num_missing: int) -> None:
    """Time-outs of many shards that reply to others are overload; of a few, the shards' failure."""
    num_missing = min(num_missing, num_shards)
    expected = State.OPEN if num_missing <= most_to_blame else State.CLOSED
    replied_at = [0.0] * num_shards
    breakers = Breakers(num_shards, BreakerSettings(), lambda: 0.5, replied_at=replied_at)
    for number in range(30):
        now = 1.0 + number / 10
        replied_at[:] = [now - 0.2] * num_shards  # within the 0.3 s that the query has waited
        end_all(breakers, num_missing, now)
    states = [breaker.state(4.0) for breaker in breakers]
    assert states[:num_missing] == [expected] * num_missing
    assert set(states[num_missing:]) <= {State.CLOSED}


def test_a_hung_shard_s_breaker_opens_in_an_overload_too() -> None:
    """A shard that replies to no query is to blame, whatever happens to the others."""
    replied_at = [0.0] * 8
    breakers = Breakers(8, BreakerSettings(), lambda: 0.5, replied_at=replied_at)
    for number in range(5):
        now = 2.0 + number / 10
        replied_at[1:] = [now - 0.2] * 7
        replied_at[0] = now - 1.1 * STALL_S
        end_all(breakers, 8, now)
    assert [breaker.state(2.5) for breaker in breakers] == [State.OPEN] + [State.CLOSED] * 7


@pytest.mark.parametrize(
    ("num_missing", "silent_s", "expected"),
    [(8, 0.9, State.CLOSED), (8, 1.1, State.OPEN), (2, 0.9, State.OPEN)],
)
def test_a_stall_of_the_machine_opens_no_breaker(
    num_missing: int, silent_s: float, expected: State
) -> None:
    """Many shards fall silent at once, for half a second; open breakers would last longer."""
    replied_at = [3.0 - silent_s * STALL_S] * 8
    breakers = Breakers(8, BreakerSettings(), lambda: 0.5, replied_at=replied_at)
    for _ in range(100):  # all that were in flight
        end_all(breakers, num_missing, now=3.0)
    assert breakers[0].state(3.0) is expected


@pytest.mark.parametrize(
    ("refused_ago_s", "replied_ago_s", "expected"),
    [
        (0.2, 0.9 * CROWDED_SILENCE_S, State.CLOSED),
        (0.2, 1.1 * CROWDED_SILENCE_S, State.OPEN),
        (0.9 * CROWDED_S, 0.2, State.CLOSED),
        (1.1 * CROWDED_S, 0.2, State.OPEN),
    ],
)
def test_at_the_limit_one_shard_that_still_replies_is_not_to_blame(
    refused_ago_s: float, replied_ago_s: float, expected: State
) -> None:
    """A query was refused not long ago: one shard may be behind, but not hung."""
    replied_at, pressure = [0.0] * 8, Pressure()
    breakers = Breakers(8, BreakerSettings(), lambda: 0.5, replied_at=replied_at, pressure=pressure)
    for number in range(30):
        now = 1.0 + number / 10
        replied_at[:] = [now - replied_ago_s] * 8
        pressure.refused_at = now - refused_ago_s
        end_all(breakers, 1, now)
    assert breakers[0].state(4.0) is expected


def end_all(breakers: Breakers, num_missing: int, now: float) -> None:
    """A query that the first `num_missing` shards keep waiting for 0.3 s and the others answer."""
    plan = make_plan([True] * len(breakers), breakers, now)
    missing, answered = (
        ShardResult(outcome, "", "", None, None, "", took_s)
        for outcome, took_s in ((Outcome.TIMED_OUT, 0.3), (Outcome.OK, 0.01))
    )
    settled = {shard: missing if shard < num_missing else answered for shard in plan.shards}
    breakers.finish(plan.shards, plan.permits, settled, now)


def test_transitions_name_their_shard() -> None:
    """The listener learns which shard's breaker has changed."""
    told: list[tuple[int, Transition]] = []
    breakers = Breakers(
        3, BreakerSettings(), lambda: 0.5, lambda shard, one: told.append((shard, one))
    )
    open_breaker(breakers, 2, now=7.0)
    assert [(shard, one.at_s, one.after) for shard, one in told] == [(2, 7.0, State.OPEN)]
    assert len(breakers) == 3


def test_outcomes_all_have_a_verdict() -> None:
    """Every outcome there is can be reported to a breaker."""
    breakers = make_breakers()
    for outcome in Outcome:
        end(breakers, 0, outcome)
    learnt = breakers[0].snapshot(0.0)
    assert learnt.num_calls == sum(
        outcome in {Outcome.OK, Outcome.TIMED_OUT, Outcome.FAILED} for outcome in Outcome
    )
