"""Many alarms by one timer, in virtual time, against a model that sorts them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.transport.timers import SharedTimer
from tests.unit.virtual_time import run_virtually

# Instants, few enough for several to be the same; and when each is cancelled, if it is.
alarms = st.lists(
    st.tuples(st.integers(1, 12), st.none() | st.integers(0, 12)), min_size=1, max_size=300
)


@given(alarms, st.integers(0, 6))
def test_each_goes_off_at_its_instant(alarms: list[tuple[int, int | None]], set_at: int) -> None:
    """Whatever is set and cancelled when, exactly what is left goes off, on time and in order."""

    async def scenario() -> list[tuple[float, int]]:
        loop, timer = asyncio.get_running_loop(), SharedTimer()
        gone_off: list[tuple[float, int]] = []

        def set_alarm(number: int) -> None:
            at, cancelled_at = alarms[number]

            def go_off() -> None:
                gone_off.append((loop.time(), number))

            alarm = timer.call_at(max(at, set_at), go_off)
            if cancelled_at is not None:
                loop.call_at(cancelled_at + 0.5, alarm.cancel)

        for number in range(0, len(alarms), 2):
            set_alarm(number)
        # Before anything that is due at the same instant, and after what was due before it.
        await asyncio.sleep(max(0.0, set_at - 0.25))
        for number in range(1, len(alarms), 2):
            set_alarm(number)
        await asyncio.sleep(20)
        return gone_off

    # For the same instant, in the order in which they were set: the even ones came first.
    expected = sorted(
        (float(max(at, set_at)), number % 2, number)
        for number, (at, cancelled_at) in enumerate(alarms)
        if cancelled_at is None or cancelled_at + 0.5 > max(at, set_at)
    )
    assert run_virtually(scenario()) == [(at, number) for at, _, number in expected]


def test_one_that_raises_holds_up_nobody() -> None:
    """A callback's exception reaches the loop's handler, and what is due with it still goes off."""

    async def scenario() -> tuple[list[float], list[BaseException]]:
        loop, timer = asyncio.get_running_loop(), SharedTimer()
        gone_off: list[float] = []
        errors: list[BaseException] = []
        loop.set_exception_handler(lambda _loop, context: errors.append(context["exception"]))

        def fail() -> None:
            raise ValueError("on purpose")

        timer.call_at(1.0, fail)
        timer.call_at(1.0, lambda: gone_off.append(loop.time()))
        timer.call_at(2.0, lambda: gone_off.append(loop.time()))
        await asyncio.sleep(3)
        return gone_off, errors

    gone_off, errors = run_virtually(scenario())
    assert gone_off == [1.0, 2.0]
    with pytest.raises(ValueError, match="on purpose"):
        raise errors[0]


def test_forgets_what_was_cancelled() -> None:
    """Of many alarms that are set and cancelled, only a bounded number is still held."""

    async def scenario() -> int:
        timer = SharedTimer()
        timer.call_at(50.0, lambda: None)
        most = 0
        for number in range(10_000):
            timer.call_at(100.0 + number, lambda: None).cancel()
            most = max(most, timer.num_held)
        return most

    assert run_virtually(scenario()) < 250


def test_an_alarm_may_set_and_cancel_others() -> None:
    """A callback that sets one for now, and cancels one that is due with it, gets both."""

    async def scenario() -> list[str]:
        loop, timer = asyncio.get_running_loop(), SharedTimer()
        gone_off: list[str] = []

        def first() -> None:
            gone_off.append("first")
            second.cancel()
            timer.call_at(loop.time(), lambda: gone_off.append("now"))

        timer.call_at(1.0, first)
        second = timer.call_at(1.0, lambda: gone_off.append("second"))
        timer.call_at(1.5, lambda: gone_off.append("later"))
        await asyncio.sleep(2)
        return gone_off

    assert run_virtually(scenario()) == ["first", "now", "later"]
