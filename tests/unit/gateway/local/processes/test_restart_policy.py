"""When a child that died is started again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.local.processes.restart_policy import RestartBackoff, RestartPolicy

PLAIN = RestartPolicy(initial_s=0.5, max_s=4.0, jitter=0.0, stable_s=30.0)


def _deaths(backoff: RestartBackoff, lives_s: list[float]) -> list[float]:
    """The pause after each of some lives, one after the other."""
    now, pauses = 100.0, []
    for lived_s in lives_s:
        backoff.started(now)
        now += lived_s
        pauses.append(backoff.died(now))
        now += pauses[-1]
    return pauses


def test_quick_deaths_double_the_pause_up_to_the_cap() -> None:
    """A child that keeps dying waits twice as long each time, up to the cap."""
    pauses = _deaths(RestartBackoff(PLAIN, lambda: 0.5), [0.1] * 6)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_a_stable_life_starts_over() -> None:
    """A child that was stable is restarted as quickly as after its first death."""
    pauses = _deaths(RestartBackoff(PLAIN, lambda: 0.5), [0.1, 0.1, 0.1, PLAIN.stable_s, 0.1])
    assert pauses == [0.5, 1.0, 2.0, 0.5, 1.0]


def test_the_pause_itself_does_not_count_as_life() -> None:
    """A child that never lives long keeps its long pause however long it is held back."""
    policy = RestartPolicy(initial_s=40.0, max_s=80.0, jitter=0.0, stable_s=30.0)
    assert _deaths(RestartBackoff(policy, lambda: 0.5), [0.1, 0.1, 0.1]) == [40.0, 80.0, 80.0]


def test_a_start_that_fails_counts_as_a_quick_death() -> None:
    """A child that cannot even be started backs off too."""
    backoff = RestartBackoff(PLAIN, lambda: 0.5)
    assert [backoff.died(now) for now in (1.0, 100.0, 500.0)] == [0.5, 1.0, 2.0]


@given(
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=2000),
    jitter=st.floats(0, 0.9),
)
def test_jitter_stays_in_its_share(draws: list[float], jitter: float) -> None:
    """Each pause is within the jitter's share of the pause without it, for any draw."""
    policy = RestartPolicy(initial_s=0.2, max_s=10.0, jitter=jitter, stable_s=10.0)
    numbers = iter(draws)
    pauses = _deaths(RestartBackoff(policy, lambda: next(numbers)), [0.0] * len(draws))
    nominal = 0.2
    for pause in pauses:
        assert nominal * (1 - jitter) <= pause * (1 + 1e-9)
        assert pause <= nominal * (1 + jitter) * (1 + 1e-9)
        nominal = min(10.0, nominal * 2)


def test_jitter_spreads() -> None:
    """Two children that die together do not come back together."""
    policy = RestartPolicy(initial_s=1.0, jitter=0.2)
    assert RestartBackoff(policy, lambda: 0.0).died(0.0) == pytest.approx(0.8)
    assert RestartBackoff(policy, lambda: 0.999999).died(0.0) == pytest.approx(1.2, abs=1e-5)
