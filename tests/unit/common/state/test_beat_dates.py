"""Heartbeats after the Redis server's clock was set back."""

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.state.beat_dates import BeatDates
from hedgerow.common.state.registry import Registry
from tests.support.virtual_time import run_virtually
from tests.unit.support.heartbeats import beat

DAY_MS = 86_400_000
NOW_MS = 10 * DAY_MS


def test_a_worker_that_was_lost_stays_lost_when_the_clock_is_set_back() -> None:
    """Its last heartbeat is as old as it has been unchanged; others are as old as they say."""
    dates = BeatDates()
    sent_ms = {"lost": NOW_MS, "live": NOW_MS}
    assert dates.dated(sent_ms, NOW_MS + 5, 100.0) == sent_ms
    earlier_ms = NOW_MS - DAY_MS
    sent_ms["live"] = NOW_MS + 30_000  # it does not know yet
    found = dates.dated(sent_ms, earlier_ms, 130.5)
    assert {one: earlier_ms - found[one] for one in found} == {"lost": 30_500, "live": 0}
    sent_ms["live"] = earlier_ms + 900  # it knows
    found = dates.dated(sent_ms, earlier_ms + 1000, 131.5)
    assert found == {"lost": earlier_ms + 1000 - 31_500, "live": earlier_ms + 900}
    # The clock has caught up: the heartbeat is as old as it says.
    assert dates.dated(sent_ms, NOW_MS + 1, 131.5)["lost"] == NOW_MS


def test_a_heartbeat_of_the_future_that_was_just_read_is_new() -> None:
    """A process that has started after the clock was set back sees it end like any other."""
    dates = BeatDates()
    for age_s in (0, 1, 5):
        found = dates.dated({"one": NOW_MS}, 1000, 7.0 + age_s)
        assert found == {"one": 1000 - age_s * 1000}


class Server:
    """Redis with a clock of its own, and one heartbeat."""

    def __init__(self) -> None:
        self.now = NOW_MS

    async def execute(self, *_command: Any) -> dict[bytes, bytes]:
        """HGETALL."""
        return {b"one": beat("one", [0], NOW_MS).pack()}

    async def now_ms(self) -> int:
        """TIME."""
        return self.now


@pytest.mark.parametrize("set_back_ms", [0, DAY_MS])
def test_the_registry_tells_live_workers_by_these_dates(set_back_ms: int) -> None:
    """A worker without a heartbeat for the expiry is not live, wherever the clock is set to."""
    server = Server()
    registry = Registry(cast("RedisClient", server), Keys.of(RedisSettings()))

    async def look() -> None:
        sent = beat("one", [0], NOW_MS)
        assert await registry.live_heartbeats(2.0) == {"one": sent}
        one = {"one": sent}
        assert registry.dated(one, NOW_MS - 7) == {"one": replace(sent, beat_at_ms=NOW_MS - 7)}
        await asyncio.sleep(3.0)
        server.now += 3000 - set_back_ms
        assert await registry.live_heartbeats(2.0) == {}

    run_virtually(look())
