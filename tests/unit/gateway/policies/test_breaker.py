"""The breaker's rules, one claim a test; test_breaker_model.py holds all of them together."""

import math
from collections.abc import Callable

import pytest

from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.gateway.policies.breaker import (
    MAX_TRANSITIONS,
    Breaker,
    CallOutcome,
    Permit,
    State,
    Transition,
)

SUCCESS, FAILURE, IGNORED = CallOutcome.SUCCESS, CallOutcome.FAILURE, CallOutcome.IGNORED
MISSED = CallOutcome.MISSED


def make_breaker(rng: Callable[[], float] = lambda: 0.5, **settings: float) -> Breaker:
    """A breaker without jitter (unless `settings` say so) that only failures in a row open."""
    defaults: dict[str, float] = {"minimum_number_of_calls": 1000, "sliding_window_size": 1000}
    return Breaker(BreakerSettings.model_validate({**defaults, **settings}), rng)


def permit_of(breaker: Breaker, now: float = 0.0) -> Permit:
    """A permit that must be given."""
    permit = breaker.allow(now)
    assert permit is not None
    return permit


def call(breaker: Breaker, outcome: CallOutcome, now: float = 0.0, duration_s: float = 0.0) -> None:
    """One call from start to end."""
    permit_of(breaker, now).done(outcome, now, duration_s)


def opened(breaker: Breaker, now: float = 0.0) -> Breaker:
    """The same breaker, opened by failures in a row."""
    while breaker.state(now) is State.CLOSED:
        call(breaker, FAILURE, now)
    return breaker


def test_opens_after_failures_in_a_row() -> None:
    """The limit's last failure in a row opens a breaker, and none before it does."""
    breaker = make_breaker(consecutive_failures=3)
    for _ in range(2):
        call(breaker, FAILURE)
    assert breaker.state(0) is State.CLOSED
    call(breaker, FAILURE)
    assert breaker.state(0) is State.OPEN
    assert breaker.allow(0) is None


@pytest.mark.parametrize(
    ("between", "state"),
    [(SUCCESS, State.CLOSED), (IGNORED, State.OPEN), (MISSED, State.OPEN)],
)
def test_what_breaks_a_row(between: CallOutcome, state: State) -> None:
    """A success between failures starts the count again; an ignored or missed call does not."""
    breaker = make_breaker(consecutive_failures=3)
    for outcome in (FAILURE, FAILURE, between, FAILURE):
        call(breaker, outcome)
    assert breaker.state(0) is state


def test_missed_calls_open_by_their_rate_alone() -> None:
    """Any number of them in a row is no row, but they are failures of the window."""
    breaker = make_breaker(
        consecutive_failures=3, failure_rate_threshold=50, minimum_number_of_calls=10
    )
    for _ in range(9):
        call(breaker, MISSED)
    assert breaker.state(0) is State.CLOSED
    call(breaker, MISSED)
    assert breaker.state(0) is State.OPEN


def test_failure_rate_waits_for_the_minimum() -> None:
    """A failure rate above its threshold opens only when the minimum of calls is in the window."""
    breaker = make_breaker(
        failure_rate_threshold=50, minimum_number_of_calls=10, consecutive_failures=1000
    )
    for number in range(9):
        call(breaker, SUCCESS if number % 3 == 0 else FAILURE)
        assert breaker.state(0) is State.CLOSED
    call(breaker, SUCCESS)  # even a success may be the call that makes up the minimum
    assert breaker.state(0) is State.OPEN


@pytest.mark.parametrize("percent", range(1, 101))
def test_rate_at_the_threshold_opens(percent: int) -> None:
    """A rate that equals its threshold opens, whatever binary fractions make of the percentage."""
    breaker = make_breaker(
        failure_rate_threshold=percent,
        minimum_number_of_calls=100,
        sliding_window_size=100,
        consecutive_failures=1000,
    )
    for _ in range(100 - percent):
        call(breaker, SUCCESS)
    for _ in range(percent - 1):
        call(breaker, FAILURE)
    assert breaker.state(0) is State.CLOSED
    call(breaker, FAILURE)
    assert breaker.state(0) is State.OPEN


def test_window_forgets() -> None:
    """Failures that the window has moved past count no more."""
    breaker = make_breaker(
        failure_rate_threshold=50,
        sliding_window_size=10,
        minimum_number_of_calls=10,
        consecutive_failures=1000,
    )
    for outcome in [FAILURE] * 4 + [SUCCESS] * 10 + [FAILURE] * 4:
        call(breaker, outcome)
    assert breaker.state(0) is State.CLOSED
    assert breaker.snapshot(0).failure_rate == 40.0


def test_minimum_over_the_window_is_the_window() -> None:
    """A minimum that the window can never hold does not switch the rates off (resilience4j)."""
    breaker = make_breaker(
        sliding_window_size=4, minimum_number_of_calls=100, consecutive_failures=1000
    )
    for outcome in (SUCCESS, FAILURE, SUCCESS, FAILURE):
        call(breaker, outcome)
    assert breaker.state(0) is State.OPEN


def test_slow_successes_open() -> None:
    """Successes that take too long open a breaker at the slow-call rate; others do not count."""
    breaker = make_breaker(
        slow_call_duration_threshold_ms=100,
        slow_call_rate_threshold=75,
        minimum_number_of_calls=4,
    )
    call(breaker, SUCCESS, duration_s=0.1)
    for _ in range(2):
        call(breaker, SUCCESS, duration_s=0.101)
    assert breaker.state(0) is State.CLOSED
    call(breaker, SUCCESS, duration_s=0.101)
    assert breaker.state(0) is State.OPEN
    assert breaker.snapshot(0).slow_call_rate == 75.0


def test_slow_failures_count_as_slow() -> None:
    """A failure that took too long counts in the slow-call rate too."""
    breaker = make_breaker(
        slow_call_duration_threshold_ms=100,
        slow_call_rate_threshold=50,
        failure_rate_threshold=100,
        minimum_number_of_calls=4,
    )
    for outcome, duration_s in ((FAILURE, 0.2), (FAILURE, 0.0), (SUCCESS, 0.0), (SUCCESS, 0.2)):
        call(breaker, outcome, duration_s=duration_s)
    assert breaker.state(0) is State.OPEN


def test_refuses_until_the_wait_is_over() -> None:
    """An open breaker refuses up to the end of its wait, and says when that is."""
    breaker = opened(make_breaker(wait_duration_in_open_state_s=2.0), now=10.0)
    assert breaker.retry_at(10.5) == 12.0
    assert breaker.snapshot(10.5).retry_in_s == 1.5
    assert breaker.allow(11.999) is None
    assert breaker.state(12.0) is State.HALF_OPEN
    assert breaker.allow(12.0) is not None


def test_wait_doubles_up_to_the_cap_and_returns() -> None:
    """Each failed probe doubles the wait up to the cap; closing brings it back to the first."""
    breaker = opened(
        make_breaker(wait_duration_in_open_state_s=1.0, max_wait_duration_in_open_state_s=5.0)
    )
    now = 0.0
    waits = []
    for _ in range(5):
        waits.append(breaker.retry_at(now) - now)
        now = breaker.retry_at(now)
        call(breaker, FAILURE, now)
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
    now = breaker.retry_at(now)
    call(breaker, SUCCESS, now)
    assert breaker.state(now) is State.CLOSED
    assert opened(breaker, now).retry_at(now) - now == 1.0


@pytest.mark.parametrize(("draw", "wait_s"), [(0.0, 7.5), (0.5, 10.0), (0.999999, 12.5)])
def test_jitter_spreads_the_wait(draw: float, wait_s: float) -> None:
    """The wait is spread by up to the jitter's share of itself, each way."""
    breaker = make_breaker(lambda: draw, wait_duration_in_open_state_s=10.0, wait_jitter=0.25)
    assert opened(breaker).retry_at(0.0) == pytest.approx(wait_s, abs=1e-4)


def test_no_wait_passes_the_cap() -> None:
    """Whatever the jitter draws, a shard is probed again within the longest wait."""
    breaker = opened(
        make_breaker(
            lambda: 0.999999,
            wait_duration_in_open_state_s=2.0,
            max_wait_duration_in_open_state_s=5.0,
            wait_jitter=0.5,
        )
    )
    now = 0.0
    for _ in range(4):
        wait_s = breaker.retry_at(now) - now
        assert 2.0 < wait_s <= 5.0
        now = breaker.retry_at(now)
        permit_of(breaker, now).done(FAILURE, now)


def test_half_open_bounds_its_probes() -> None:
    """Half-open lets as many probes through as are permitted, and closes when all succeed."""
    breaker = opened(make_breaker(permitted_number_of_calls_in_half_open_state=3))
    probes = [permit_of(breaker, 1.0) for _ in range(3)]
    assert breaker.allow(1.0) is None
    for probe in probes[:2]:
        probe.done(SUCCESS, 1.1)
        assert breaker.state(1.1) is State.HALF_OPEN
        assert breaker.allow(1.1) is None
    probes[2].done(SUCCESS, 1.2)
    assert breaker.state(1.2) is State.CLOSED


def test_successes_keep_their_slots() -> None:
    """A probe that succeeded is not replaced: no more are let through than must succeed."""
    breaker = opened(
        make_breaker(
            permitted_number_of_calls_in_half_open_state=2, wait_duration_in_open_state_s=1.0
        )
    )
    first = permit_of(breaker, 1.0)
    second = permit_of(breaker, 1.5)
    first.done(SUCCESS, 1.6)
    assert breaker.allow(2.0) is None  # when the first's slot would have been given up
    second.done(SUCCESS, 2.1)
    assert breaker.state(2.1) is State.CLOSED


def test_half_open_starts_with_every_slot() -> None:
    """Probes of an earlier half-open that are still under way take no slot of the next one."""
    breaker = opened(
        make_breaker(
            lambda: 0.0,
            wait_jitter=0.5,
            wait_duration_in_open_state_s=1.0,
            max_wait_duration_in_open_state_s=1.0,
            permitted_number_of_calls_in_half_open_state=2,
        )
    )
    permit_of(breaker, 0.5)  # still under way at the end
    permit_of(breaker, 0.5).done(FAILURE, 0.5)
    probes = [permit_of(breaker, 1.0) for _ in range(2)]
    for probe in probes:
        probe.done(SUCCESS, 1.0)
    assert breaker.state(1.0) is State.CLOSED


def test_one_failed_probe_opens_again() -> None:
    """The first probe that fails opens the breaker again, whatever the others did."""
    breaker = opened(make_breaker(permitted_number_of_calls_in_half_open_state=3))
    probes = [permit_of(breaker, 1.0) for _ in range(3)]
    probes[0].done(SUCCESS, 1.1)
    probes[1].done(FAILURE, 1.1)
    assert breaker.state(1.1) is State.OPEN
    probes[2].done(SUCCESS, 1.2)
    assert breaker.state(1.2) is State.OPEN


def test_slow_probes_open_again() -> None:
    """Probes that succeed too slowly do not close the breaker."""
    breaker = opened(make_breaker(slow_call_duration_threshold_ms=100))
    call(breaker, SUCCESS, 1.0, duration_s=0.2)
    assert breaker.state(1.0) is State.OPEN


def test_ignored_probe_gives_its_slot_back() -> None:
    """A probe that is ignored neither closes nor opens, and the next call is a probe at once."""
    breaker = opened(make_breaker())
    probe = permit_of(breaker, 1.0)
    assert breaker.allow(1.0) is None
    probe.done(IGNORED, 1.1)
    assert breaker.state(1.1) is State.HALF_OPEN
    call(breaker, SUCCESS, 1.1)
    assert breaker.state(1.1) is State.CLOSED


def test_lost_probe_does_not_jam_half_open() -> None:
    """The slot of a probe that never ends is free again after the wait, and one can close."""
    breaker = opened(make_breaker(wait_duration_in_open_state_s=2.0))
    permit_of(breaker, 2.0)  # never done
    assert breaker.allow(3.999) is None
    assert breaker.retry_at(3.0) == 4.0
    call(breaker, SUCCESS, 4.0)
    assert breaker.state(4.0) is State.CLOSED


def test_probe_slower_than_the_wait_still_counts() -> None:
    """A probe that ends after its slot was given up still closes the breaker."""
    breaker = opened(make_breaker(wait_duration_in_open_state_s=2.0))
    slow = permit_of(breaker, 2.0)
    permit_of(breaker, 4.0)
    slow.done(SUCCESS, 5.0)
    assert breaker.state(5.0) is State.CLOSED


def test_done_twice_counts_once() -> None:
    """The second end of a permit changes nothing."""
    breaker = make_breaker(consecutive_failures=2)
    permit = permit_of(breaker)
    permit.done(FAILURE, 0)
    permit.done(FAILURE, 0)
    assert breaker.state(0) is State.CLOSED
    assert breaker.snapshot(0).num_calls == 1


@pytest.mark.parametrize("outcome", list(CallOutcome))
def test_results_of_an_earlier_state_are_dropped(outcome: CallOutcome) -> None:
    """What was allowed while closed says nothing once half-open, nor once closed again."""
    breaker = make_breaker()
    stale = [permit_of(breaker) for _ in range(20)]
    opened(breaker)
    probe = permit_of(breaker, 1.0)
    stale.pop().done(outcome, 1.0)
    assert breaker.state(1.0) is State.HALF_OPEN
    assert breaker.allow(1.0) is None
    probe.done(SUCCESS, 1.0)
    for permit in stale:
        permit.done(outcome, 1.0)
    assert breaker.state(1.0) is State.CLOSED
    assert breaker.snapshot(1.0).num_calls == 0


def test_forced_open_refuses_for_ever() -> None:
    """A breaker that is forced open refuses until it is reset by hand."""
    breaker = make_breaker()
    late = permit_of(breaker)
    breaker.force_open(0)
    late.done(SUCCESS, 0)
    assert breaker.allow(1e9) is None
    assert breaker.retry_at(1e9) == math.inf
    assert breaker.snapshot(1e9).retry_in_s is None
    assert breaker.state(1e9) is State.FORCED_OPEN
    breaker.reset(1e9)
    call(breaker, SUCCESS, 1e9)
    assert breaker.state(1e9) is State.CLOSED


def test_disabled_passes_whatever_happens() -> None:
    """A disabled breaker passes every call and counts none."""
    breaker = opened(make_breaker())
    breaker.disable(0)
    for _ in range(50):
        call(breaker, FAILURE)
    assert breaker.state(0) is State.DISABLED
    assert breaker.retry_at(0) == 0
    assert breaker.snapshot(0).num_calls == 0


def test_transitions_are_told_and_kept() -> None:
    """Each change of state is reported with its time and reason, and the last ones are kept."""
    told: list[Transition] = []
    breaker = Breaker(BreakerSettings(wait_jitter=0), lambda: 0.5, told.append)
    opened(breaker, 1.0)
    call(breaker, SUCCESS, 2.0)
    assert [(one.at_s, one.before, one.after) for one in told] == [
        (1.0, State.CLOSED, State.OPEN),
        (2.0, State.OPEN, State.HALF_OPEN),
        (2.0, State.HALF_OPEN, State.CLOSED),
    ]
    assert "5 failures in a row" in told[0].reason
    assert breaker.snapshot(2.0).transitions == tuple(told)
    for _ in range(MAX_TRANSITIONS):
        opened(breaker, 3.0)
        breaker.reset(3.0)
    assert breaker.snapshot(3.0).transitions == tuple(told[-MAX_TRANSITIONS:])


def test_forcing_twice_is_one_transition() -> None:
    """Forcing open what is forced open is not a change of state."""
    breaker = make_breaker()
    breaker.force_open(0)
    breaker.force_open(1)
    assert len(breaker.snapshot(1).transitions) == 1
