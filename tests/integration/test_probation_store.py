"""The hash of workers on probation, on a real server: what several gateways do to it at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.state.probation import EVENT, ProbationEntry, ProbationStore
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

ENTRY = ProbationEntry("g", "slow", 1, 2)


@pytest.fixture
async def control(redis_server: RedisServer) -> AsyncIterator[RedisClient]:
    """A connection to the server."""
    control = await connect(RedisSettings(url=redis_server.url))
    yield control
    await control.close()


async def test_a_swap_takes_place_only_over_what_was_read(
    control: RedisClient, key_prefix: str
) -> None:
    """Workers that came or went meanwhile make it fail, and nothing changes; renewals do not."""
    board = ProbationStore(control, Keys(key_prefix))
    assert await board.swap([], [], {"a": ENTRY, "b w": ENTRY})
    assert await board.entries() == {"a": ENTRY, "b w": ENTRY}
    assert not await board.swap([], [], {"c": ENTRY})
    assert not await board.swap(["a"], ["a"], {})
    assert not await board.swap(["a", "c"], ["a"], {})
    assert await board.entries() == {"a": ENTRY, "b w": ENTRY}
    renewed = ProbationEntry("g", "slow", 1, 9)
    assert await board.swap(["b w", "a"], ["a"], {"b w": renewed, "c": ENTRY})
    assert await board.entries() == {"b w": renewed, "c": ENTRY}
    assert await board.swap(["b w", "c"], ["b w", "c"], {})
    assert await board.entries() == {}


async def test_of_gateways_that_decide_at_once_one_is_through(
    control: RedisClient, key_prefix: str
) -> None:
    """Each has read the same; one swap of ten takes place."""
    board = ProbationStore(control, Keys(key_prefix))
    done = await asyncio.gather(*(board.swap([], [], {f"w{n}": ENTRY}) for n in range(10)))
    assert sum(done) == len(await board.entries()) == 1


async def test_what_cannot_be_read_has_ended(control: RedisClient, key_prefix: str) -> None:
    """An entry by another version, or by a stranger, keeps no worker out and can be removed."""
    keys = Keys(key_prefix)
    board = ProbationStore(control, keys)
    await control.execute("HSET", keys.probation, "w", b"\xc1")
    entries = await board.entries()
    assert entries["w"].until_ms == 0
    assert await board.swap(entries, ["w"], {})
    assert await board.entries() == {}


async def test_a_change_is_announced(control: RedisClient, key_prefix: str) -> None:
    """It is published on the events channel."""
    keys = Keys(key_prefix)
    board = ProbationStore(control, keys)
    heard: list[bytes] = []
    async for event in control.events(keys.events):
        heard.append(event)
        if event == b"reconnected":
            await board.announce()
        else:
            break
    assert heard == [b"reconnected", EVENT.encode()]
