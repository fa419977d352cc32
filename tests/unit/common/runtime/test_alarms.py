"""Alarms: each is called at its own instant, though many share a timer."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from hedgerow.common.runtime.alarms import Alarm, Alarms
from tests.support.virtual_time import run_virtually

NUM = 300


def test_each_alarm_is_called_at_its_instant_unless_it_was_cancelled() -> None:
    """Alarms of the same and of other milliseconds, set in any order, some of them cancelled."""

    async def scenario() -> tuple[list[tuple[float, float]], list[float]]:
        loop, rng, alarms = asyncio.get_running_loop(), random.Random(1), Alarms()
        called: list[tuple[float, float]] = []
        kept: list[float] = []

        def note(at: float) -> Callable[[], None]:
            return lambda: called.append((at, loop.time()))

        started = loop.time()
        for number in range(NUM):
            at = started + 0.010 + rng.choice((0.004, 0.5)) * rng.random()
            alarm = alarms.set(at, note(at))
            if number % 3 == 0:
                loop.call_at(started + 0.010 * rng.random(), alarm.cancel)
            else:
                kept.append(at)
        await asyncio.sleep(1)
        return called, kept

    called, kept = run_virtually(scenario())
    assert [at for at, _ in called] == sorted(kept)
    for at, instant in called:
        assert instant == pytest.approx(at, abs=1e-5)


def test_alarms_of_a_millisecond_share_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are set and cancelled, few timers of the loop are; none is left at the end."""

    async def scenario() -> tuple[int, int]:
        loop, alarms = asyncio.get_running_loop(), Alarms()
        timers: list[asyncio.TimerHandle] = []
        call_at = loop.call_at

        def counted(*arguments: Any) -> asyncio.TimerHandle:
            timers.append(call_at(*arguments))
            return timers[-1]

        monkeypatch.setattr(loop, "call_at", counted)
        waiting: list[Alarm] = []
        first = int(loop.time()) + 5
        for number in range(NUM):
            waiting.append(alarms.set(first + (number + 1) * 1e-5, _fail))
            if len(waiting) > 16:
                waiting.pop(0).cancel()
        for alarm in waiting:
            alarm.cancel()
            alarm.cancel()  # has no effect
        return len(timers), sum(not timer.cancelled() for timer in timers)

    num_timers, num_left = run_virtually(scenario())
    assert num_timers <= 4
    assert num_left == 0


def test_an_alarm_that_fails_keeps_no_other_from_being_called() -> None:
    """The loop hears of the error, as of that of any callback."""

    async def scenario() -> tuple[list[str], list[BaseException]]:
        loop, alarms = asyncio.get_running_loop(), Alarms()
        errors: list[BaseException] = []
        loop.set_exception_handler(lambda _loop, context: errors.append(context["exception"]))
        called: list[str] = []
        at = int(loop.time()) + 1.0
        alarms.set(at, _fail)
        alarms.set(at, lambda: called.append("same instant"))
        alarms.set(at + 0.0005, lambda: called.append("same millisecond"))
        await asyncio.sleep(2)
        return called, errors

    called, errors = run_virtually(scenario())
    assert called == ["same instant", "same millisecond"]
    assert [str(error) for error in errors] == ["unexpected"]


def test_an_alarm_may_set_and_cancel_others() -> None:
    """Those that it sets are called, even at once; those that it cancels are not."""

    async def scenario() -> list[str]:
        alarms, called = Alarms(), list[str]()
        at = int(asyncio.get_running_loop().time()) + 1.0

        def first() -> None:
            called.append("first")
            second.cancel()
            alarms.set(at, lambda: called.append("at once"))
            alarms.set(at + 0.0002, lambda: called.append("later"))

        alarms.set(at, first)
        second = alarms.set(at, _fail)
        await asyncio.sleep(2)
        return called

    assert run_virtually(scenario()) == ["first", "at once", "later"]


def _fail() -> None:
    raise ValueError("unexpected")
