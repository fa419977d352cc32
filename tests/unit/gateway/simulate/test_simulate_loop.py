"""The virtual event loop: asyncio's own semantics, and no real time."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.simulate.event_loop import VirtualLoop

T = TypeVar("T")


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run on a loop whose time starts at 0."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario)


def virtual_loop() -> VirtualLoop:
    """Return the loop that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def test_months_pass_at_once() -> None:
    """Time jumps: two months asleep take no time, and the clock says two months."""

    async def scenario() -> float:
        for _ in range(20):
            await asyncio.sleep(3 * 86_400)
        return asyncio.get_running_loop().time()

    started = time.monotonic()
    assert run(scenario()) == 60 * 86_400
    assert time.monotonic() - started < 5


@given(st.lists(st.tuples(st.sampled_from("tsa"), st.floats(0, 100)), max_size=30))
def test_everything_happens_in_the_order_of_time(events: list[tuple[str, float]]) -> None:
    """Timers, sleeping tasks and the agenda share one clock, whichever way an event was set."""
    happened: list[tuple[float, float]] = []

    async def scenario() -> None:
        loop = virtual_loop()

        def note(when: float) -> None:
            happened.append((when, loop.time()))

        async def sleep_and_note(delay_s: float) -> None:
            await asyncio.sleep(delay_s)
            note(delay_s)

        async with asyncio.TaskGroup() as group:
            for kind, when in events:
                if kind == "t":
                    loop.call_at(when, note, when)
                elif kind == "a":
                    loop.at(when, note, when)
                else:
                    group.create_task(sleep_and_note(when))
            await asyncio.sleep(101)

    run(scenario())
    assert sorted(when for when, _ in happened) == sorted(when for _, when in events)
    times = [at for _, at in happened]
    assert times == sorted(times)
    assert all(at == pytest.approx(when, abs=1e-9) for when, at in happened)


def test_the_agenda_keeps_its_order_at_one_instant() -> None:
    """Calls that are due at the same time run in the order in which they were set."""
    ran: list[int] = []

    async def scenario() -> None:
        loop = virtual_loop()
        for number in range(20):
            loop.at(1.0, ran.append, number)
        await asyncio.sleep(2)

    run(scenario())
    assert ran == list(range(20))


def test_what_a_call_makes_ready_runs_before_the_next_call() -> None:
    """A task that an agenda's call wakes goes on before anything later happens."""
    seen: list[str] = []

    async def scenario() -> None:
        loop = virtual_loop()
        future: asyncio.Future[None] = loop.create_future()
        loop.at(1.0, future.set_result, None)
        loop.at(1.5, seen.append, "later call")
        await future
        seen.append(f"task at {loop.time()}")
        await asyncio.sleep(1)

    run(scenario())
    assert seen == ["task at 1.0", "later call"]


def test_cancelled_timers_do_not_happen() -> None:
    """A timer that was cancelled is silent, and a time-out cancels what it guards, on time."""

    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(1, pytest.fail, "cancelled").cancel()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(60)
        at = loop.time()
        await asyncio.sleep(10)
        return at

    assert run(scenario()) == 5


def test_late_timers_wait_and_the_agenda_does_not() -> None:
    """A timer runs so late, with all that are due by then; calls and `sleep_until` are on time."""
    seen: list[tuple[str, float]] = []
    lateness = iter([0.5, 0.25, 0.25])

    async def scenario() -> None:
        loop = virtual_loop()

        def note(what: str) -> None:
            seen.append((what, loop.time()))

        loop.call_at(1.0, note, "late")
        loop.call_at(1.4, note, "with it")
        loop.call_at(2.0, note, "late again")
        loop.at(1.2, note, "on time")
        await loop.sleep_until(3.0)
        note("awake")

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(lambda: next(lateness))) as runner:
        runner.run(scenario())
    assert seen == [
        ("on time", 1.2),
        ("late", 1.5),
        ("with it", 1.5),
        ("late again", 2.25),
        ("awake", 3.0),
    ]


def test_a_hang_is_an_error() -> None:
    """Where all wait and nothing can happen, the run ends with an error, and does not hang."""

    async def scenario() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="nothing is due"):
        run(scenario())


def test_an_error_in_a_call_ends_the_run() -> None:
    """What an agenda's call raises is not swallowed."""

    async def scenario() -> None:
        virtual_loop().at(1.0, lambda _: 1 / 0, None)
        await asyncio.sleep(2)

    with pytest.raises(ZeroDivisionError):
        run(scenario())
