"""What happens in a process when the primary moves, in virtual time and without sentinels."""

import asyncio

import pytest

from hedgerow.common.redis.moving_primary import SETTLE_S
from hedgerow.common.redis.sentinel_view import Address, Report
from hedgerow.common.redis.sentinels import SentinelPrimary
from hedgerow.common.settings.redis import RedisSettings
from tests.support.virtual_time import run_virtually

SETTINGS = RedisSettings(url="redis:///0", sentinels=["s1:1", "s2:1"], service_name="x")
OLD, NEW = Address("10.0.0.1", 1), Address("10.0.0.2", 1)


def test_when_the_primary_moves_all_leave_and_writes_wait() -> None:
    """Followers are told at once and once, back-offs end, and writes wait for the workers."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        primary, told = SentinelPrimary(SETTINGS), list[str]()
        primary.follow(lambda: told.append("stays"))
        unfollow = primary.follow(lambda: told.append("goes"))
        primary._take("s1", Report(1, OLD))
        await primary.settled()
        assert not told
        assert primary.version == 0
        assert loop.time() == pytest.approx(0.0, abs=1e-6)
        pausing = asyncio.create_task(primary.pause(60.0))
        await asyncio.sleep(1.0)
        primary._take("s1", Report(2, NEW))
        primary._take("s2", Report(2, NEW))
        assert (told, primary.version) == (["stays", "goes"], 1)
        await pausing
        assert loop.time() == pytest.approx(1.0)
        await primary.settled()
        assert loop.time() == pytest.approx(1.0 + SETTLE_S)
        unfollow()
        primary._take("s1", Report(3, OLD))
        assert told == ["stays", "goes", "stays"]
        await primary.close()

    run_virtually(scenario())


def test_a_doubt_about_an_earlier_primary_is_late() -> None:
    """Many connections may notice the same demotion: the first makes all leave, and only once."""

    async def scenario() -> None:
        primary, told = SentinelPrimary(SETTINGS), list[int]()
        primary.follow(lambda: told.append(primary.version))
        primary._take("s1", Report(1, OLD))
        primary.doubt(0)
        primary.doubt(0)
        assert told == [1]
        primary.doubt(1)
        assert told == [1, 2]
        await primary.settled()  # nothing is lost by that
        assert asyncio.get_running_loop().time() == pytest.approx(0.0, abs=1e-6)
        await primary.close()

    run_virtually(scenario())
