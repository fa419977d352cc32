"""The placement for viewers, in virtual time."""

import asyncio
from typing import Any

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.gateway.live.live import Live
from hedgerow.gateway.live.placement_view import PlacementView
from tests.support.fake_gateway import make_live
from tests.support.virtual_time import run_virtually


class Placed:
    """A placement whose description takes a while."""

    def __init__(self, takes_s: float) -> None:
        self.has_joined = True
        self.num_read = 0
        self.view = PlacementView(self._describe, lambda: self.has_joined)
        self._takes_s = takes_s

    async def _describe(self) -> dict[str, Any]:
        await asyncio.sleep(self._takes_s)
        self.num_read += 1
        return {"version": self.num_read}


def test_a_placement_that_takes_long_is_read_seldom() -> None:
    """Reading takes a twentieth of the time at most, however often it is asked for."""

    async def scenario() -> None:
        for takes_s, expected in ((0.001, 100), (0.25, 20)):
            placed = Placed(takes_s)
            for _ in range(100):
                assert (await placed.view.read() or {})["version"] == placed.num_read
                await asyncio.sleep(1.0)
            assert expected * 0.9 <= placed.num_read <= expected * 1.1

    run_virtually(scenario())


def test_nothing_is_read_where_no_worker_has_joined() -> None:
    """Viewers of a pinned cluster cost no read; a placement that was there is still shown."""

    async def scenario() -> None:
        placed = Placed(0.0)
        placed.has_joined = False
        assert await placed.view.read() is None
        assert placed.num_read == 0
        placed.has_joined = True
        assert await placed.view.read() == {"version": 1}
        placed.has_joined = False  # all are lost
        assert await placed.view.read() == {"version": 2}

    run_virtually(scenario())


async def _sent(live: Live) -> bytes:
    viewer = live.open()
    await viewer.take()
    await live.send_status()
    return await viewer.take()


def test_the_status_comes_with_the_placement() -> None:
    """Both are sent, and the status alone while Redis does not answer or no worker has joined."""

    async def placed() -> dict[str, Any]:
        return {"version": 3}

    async def unknown() -> dict[str, Any]:
        raise RedisUnavailableError("away")

    async def scenario() -> None:
        assert b'event: placement\ndata: {"version":3}' in await _sent(make_live(placement=placed))
        for live in (make_live(), make_live(placement=unknown)):
            found = await _sent(live)
            assert b"event: status" in found
            assert b"event: placement" not in found

    run_virtually(scenario())
