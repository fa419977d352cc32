"""Figures of functions, for the tests of the advice that follows from them."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from hedgerow.gateway.advise.figures import (
    Alone,
    Crossing,
    Expiry,
    Failure,
    Figures,
    Kind,
    Machine,
    OnLoop,
    Subject,
)

MACHINE = Machine(cores=4, deadline_s=0.3, kill_grace_s=0.25, thread_timeout_s=2.0)


def subject(**changes: Any) -> Subject:
    """A plain blocking function."""
    return replace(Subject("mine:function", Kind.FUNCTION, False, False, 3), **changes)


def alone(**changes: Any) -> Alone:
    """20 ms of a whole core, on a quiet machine."""
    return replace(Alone(0.02, 0.019, 0.021, 1.0, 0.0, 1.0, 5), **changes)


def figures(**changes: Any) -> Figures:
    """A pure-Python loop."""
    loop = Figures(
        subject(),
        alone=alone(),
        gil_held=0.98,
        two_threads=1.0,
        two_processes=1.95,
        crossing=Crossing(40e-6, 80e-6, 100, 20),
        on_loop=OnLoop(0.02, 1.0),
    )
    return replace(loop, **changes)


def waiting(**changes: Any) -> Figures:
    """A blocking look-up."""
    look_up = figures(alone=alone(cpu_share=0.01), gil_held=0.0, two_threads=2.0, eight_threads=7.9)
    return replace(look_up, **changes)


def awaiting(**changes: Any) -> Figures:
    """An async look-up."""
    look_up = waiting(
        subject=subject(is_async=True),
        on_loop=OnLoop(0.0002, 0.01, 7.8),
        expiry=Expiry(0.01, 0.0003, 0.52, True, True),
        eight_threads=None,
    )
    return replace(look_up, **changes)


SHARES = st.floats(0, 1)
DURATIONS_S = st.floats(1e-6, 100)
RATIOS = st.floats(0.1, 8)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw None too: whatever can be lost is lost now and then."""
    return st.none() | strategy


SUBJECTS = st.builds(
    Subject,
    st.just("mine:function"),
    st.sampled_from(Kind),
    st.booleans(),
    st.booleans(),
    st.integers(1, 9),
    st.just(10),
)
ALONES = st.builds(
    Alone,
    DURATIONS_S,
    DURATIONS_S,
    DURATIONS_S,
    st.floats(0, 4),
    SHARES,
    SHARES,
    st.integers(1, 5),
    DURATIONS_S,
    st.just("line 1"),
    st.booleans(),
)
CROSSINGS = st.builds(
    Crossing, DURATIONS_S, DURATIONS_S, st.integers(0, 10**9), st.integers(0, 10**9)
) | st.builds(
    Crossing, DURATIONS_S, unpicklable=st.just(("argument 1 (lock): TypeError: cannot pickle",))
)
FAILURES = st.builds(
    Failure,
    st.sampled_from(["raised", "died", "hung"]),
    st.just("line 2"),
    st.just("ValueError: no"),
    st.booleans(),
)
FIGURES = st.builds(
    Figures,
    SUBJECTS,
    st.lists(FAILURES, max_size=2).map(tuple),
    maybe(ALONES),
    maybe(SHARES),
    maybe(RATIOS),
    maybe(RATIOS),
    maybe(RATIOS),
    maybe(st.just("RuntimeError: made in another thread")),
    maybe(CROSSINGS),
    maybe(st.builds(OnLoop, DURATIONS_S, SHARES, maybe(RATIOS))),
    maybe(st.builds(Expiry, DURATIONS_S, DURATIONS_S, SHARES, st.booleans(), st.booleans())),
)
MACHINES = st.builds(Machine, st.integers(1, 128), DURATIONS_S, DURATIONS_S, DURATIONS_S)
