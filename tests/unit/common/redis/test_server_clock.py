"""The estimate of the server's clock."""

import asyncio
from unittest.mock import AsyncMock, Mock

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.redis.commands import CommandError
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.server_clock import ServerClock, keep_clock
from tests.support.virtual_time import run_virtually


@given(
    true_offset_us=st.integers(-(10**12), 10**12),
    trips=st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)), min_size=1, max_size=20),
)
def test_the_error_is_within_half_of_the_fastest_round_trip(
    true_offset_us: int, trips: list[tuple[float, float]]
) -> None:
    """However long each direction takes, the estimate is as close as NTP's bound says."""
    clock = ServerClock()
    now = 1000.0
    for there_s, back_s in trips:
        server_us = int((now + there_s) * 1e6) + true_offset_us
        clock.record(now, now + there_s + back_s, server_us)
        now += 1.0
    recent = trips[-8:]
    bound_us = min(there_s + back_s for there_s, back_s in recent) / 2 * 1e6
    assert abs(clock.offset_us - true_offset_us) <= bound_us + 2
    assert abs(clock.error_us - bound_us) < 2


@given(
    before_us=st.integers(-(10**12), 10**12),
    by_us=st.integers(10**6, 10**12),
    sign=st.sampled_from([-1, 1]),
    trips=st.lists(st.tuples(st.floats(0, 0.2), st.floats(0, 0.2)), min_size=2, max_size=20),
    jumps_before=st.integers(1, 19),
)
def test_a_server_whose_clock_is_set_is_followed_with_the_next_round_trip(
    before_us: int,
    by_us: int,
    sign: int,
    trips: list[tuple[float, float]],
    jumps_before: int,
) -> None:
    """The estimate is within the bounds of the new clock as soon as it has been asked once."""
    clock, now, true_us = ServerClock(), 1000.0, before_us
    since: list[float] = []
    for number, (there_s, back_s) in enumerate(trips):
        if number == jumps_before:
            true_us += sign * by_us
            since = []
        clock.record(now, now + there_s + back_s, int((now + there_s) * 1e6) + true_us)
        since.append(there_s + back_s)
        assert abs(clock.offset_us - true_us) <= min(since[-8:]) / 2 * 1e6 + 2
        now += 5.0


@given(offset_us=st.integers(-(10**12), 10**12), now=st.floats(0, 1e6))
def test_an_instant_survives_the_way_there_and_back(offset_us: int, now: float) -> None:
    """A deadline that is sent and read by the same process moves by no more than a rounding."""
    clock = ServerClock()
    clock.record(0.0, 0.0, offset_us)
    there_ms = clock.server_us(now) // 1000
    assert now - 0.0011 <= clock.monotonic_s(there_ms) <= now + 0.0001


def test_a_busy_server_does_not_end_the_watch() -> None:
    """A server that answers TIME with an error, for a while, is asked again."""
    link = Mock(spec=RedisConnection, is_connected=True)
    link.call = AsyncMock(side_effect=CommandError("BUSY Redis is busy running a script."))
    clock = ServerClock()

    async def scenario() -> None:
        running = asyncio.create_task(keep_clock(link, clock))
        await asyncio.sleep(60)
        assert not running.done()
        link.call = AsyncMock(return_value=(b"7", b"5"))
        await asyncio.sleep(60)
        running.cancel()
        await asyncio.wait([running])

    run_virtually(scenario())
    assert clock.is_known
