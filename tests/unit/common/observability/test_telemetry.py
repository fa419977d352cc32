"""Counters, throttled logs, and the watch over the loop."""

import asyncio
import time

from hedgerow.common.observability.telemetry import Counters, LagWatch, Throttle
from tests.support.virtual_time import run_virtually


def test_a_throttle_passes_one_of_a_kind_an_interval() -> None:
    """The second event within the interval is held back, another kind is not."""
    throttle = Throttle(60.0)
    assert [throttle.allows("a", now) for now in (0.0, 59.9, 60.0, 61.0)] == [
        True,
        False,
        True,
        False,
    ]
    assert throttle.allows("b", 61.0)


def test_counters_only_know_what_happened() -> None:
    """A counter that never counted is 0 and is not listed."""
    counters = Counters()
    counters.add("late", 2)
    counters.add("late")
    assert (counters["late"], counters["other"], counters.as_dict()) == (3, 0, {"late": 3})


async def test_blocking_the_loop_is_seen() -> None:
    """Work in the wrong lane is counted with about the time that it held the loop."""
    watch = LagWatch(threshold_ms=50)
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(0)
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        pass
    while not watch.num_lags:  # noqa: ASYNC110 - the watch announces nothing
        await asyncio.sleep(0)
    task.cancel()
    assert watch.num_lags == 1
    assert watch.max_lag_ms >= 100


def _looks(share: float) -> int:
    """How often a loop that uses this share of a core is checked within 2 s."""
    num_looks = 0

    async def scenario() -> None:
        loop = asyncio.get_running_loop()

        def cpu_s() -> float:
            nonlocal num_looks
            num_looks += 1
            return loop.time() * share

        task = asyncio.create_task(LagWatch(50, cpu_s).run())
        await asyncio.sleep(2.0)
        task.cancel()

    run_virtually(scenario())
    return num_looks // 2  # before and after each


def test_an_idle_loop_is_left_alone() -> None:
    """A loop that uses a tenth of a core is looked at each 50 ms, an idle one each 250 ms."""
    assert 38 <= _looks(0.1) <= 40
    assert 7 <= _looks(0.01) <= 9
