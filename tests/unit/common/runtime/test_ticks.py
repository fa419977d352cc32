"""Ticks: periodic tasks wake their process at common instants."""

import asyncio
import itertools
import random

import pytest

from hedgerow.common.runtime import ticks
from hedgerow.common.runtime.ticks import draw_phase_s, next_tick, sleep_to_tick, tick_after
from tests.support.virtual_time import run_virtually


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (100.0, 100.5),
        (100.1, 100.5),  # the work took a moment
        (100.3, 101.0),  # and here more than half of the interval
        (100.49, 101.0),
        (99.9999, 100.5),  # a timer that went off too early by its clock's resolution
    ],
)
def test_the_next_tick_is_half_to_one_and_a_half_intervals_away(
    now: float, expected: float
) -> None:
    """However long the work took, the pause is long enough and ends on a multiple."""
    assert next_tick(now, 0.5, start=90.0) == pytest.approx(expected)


def test_what_is_done_at_different_intervals_is_done_at_the_same_instants() -> None:
    """Loops that began at different times share the wake-ups of the fastest of them."""
    woken: set[float] = set()

    async def look(interval_s: float, takes_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await sleep_to_tick(interval_s)
            woken.add(round(loop.time(), 6))
            await asyncio.sleep(takes_s)

    async def scenario() -> None:
        tasks = []
        for interval_s, takes_s in ((0.25, 0.01), (0.5, 0.02), (1.0, 0.03)):
            tasks.append(asyncio.create_task(look(interval_s, takes_s)))
            await asyncio.sleep(0.07)
        await asyncio.sleep(9.0)
        for task in tasks:
            task.cancel()

    run_virtually(scenario())
    assert 36 <= len(woken) <= 37


def test_each_event_loop_has_ticks_of_its_own() -> None:
    """The first sleep of a loop is a whole interval, whenever the loop began."""

    async def scenario() -> float:
        await asyncio.sleep(0.123)
        return tick_after(0.25)

    assert run_virtually(scenario()) == pytest.approx(0.373)
    assert run_virtually(scenario()) == pytest.approx(0.373)


def test_processes_that_start_together_have_ticks_at_different_instants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of eight loops that begin at one instant, no two have their first tick within 1 ms.

    This random number generator makes it so; with another start, two of them might.
    """
    monkeypatch.setattr(ticks, "draw_phase_s", draw_phase_s)
    monkeypatch.setattr(ticks, "random", random.Random(1))

    async def scenario() -> float:
        return tick_after(1.0) % 1.0

    firsts = sorted(run_virtually(scenario()) for _ in range(8))
    assert all(b - a > 0.001 for a, b in itertools.pairwise(firsts))
