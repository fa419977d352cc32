"""The gateways' heartbeats, in a hash that stands in for Redis's."""

import asyncio
from typing import Any, cast

import pytest

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.state.gateways import GatewayHeartbeat, GatewayStore
from tests.support.virtual_time import run_virtually


class FakeHash:
    """Does what the commands say."""

    def __init__(self) -> None:
        """Start empty."""
        self.stored: dict[bytes, bytes] = {}

    async def execute(self, command: str, key: str, *arguments: Any) -> Any:
        """Run one command."""
        assert key == "p:gateways"
        match command, arguments:
            case "HSET", (field, value):
                self.stored[field.encode()] = value
            case "HDEL", fields:
                for field in fields:
                    self.stored.pop(field.encode(), None)
            case "HGETALL", ():
                return dict(self.stored)
            case _:
                raise AssertionError(command)
        return None


@pytest.fixture
def fake() -> FakeHash:
    """An empty hash."""
    return FakeHash()


@pytest.fixture
def store(fake: FakeHash) -> GatewayStore:
    """A store over it."""
    return GatewayStore(cast("RedisClient", fake), Keys("p"))


def beat(gateway: str, at_ms: int, **more: Any) -> GatewayHeartbeat:
    """A heartbeat of a gateway."""
    return GatewayHeartbeat(
        id=gateway, pid=1, host="h", version="1", beat_at_ms=at_ms, started_at_ms=0, **more
    )


async def test_a_gateway_without_a_heartbeat_is_not_live_and_is_forgotten_later(
    store: GatewayStore, fake: FakeHash
) -> None:
    """Five seconds old: not live; a minute: removed; one that sends heartbeats is both."""
    await store.beat(beat("fresh", 100_000, process=1))
    await store.beat(beat("silent", 95_000))
    await store.beat(beat("gone", 40_000))
    await store.beat(beat("zeroth", 99_000, process=0, in_flight=4))
    live = await store.live(100_000)
    assert [one.id for one in live] == ["zeroth", "fresh"]  # by process
    assert live[0] == beat("zeroth", 99_000, process=0, in_flight=4)
    assert set(fake.stored) == {b"fresh", b"silent", b"zeroth"}
    await store.forget(["fresh"])
    assert [one.id for one in await store.live(100_000)] == ["zeroth"]


def test_a_gateway_that_was_lost_is_forgotten_though_the_clock_was_set_back(
    store: GatewayStore, fake: FakeHash
) -> None:
    """An hour in the future, it would be waited for by splits; one that lives is always live."""

    async def look() -> None:
        await store.beat(beat("lost", 3_700_000))
        for elapsed_s in range(62):
            now_ms = 100_000 + elapsed_s * 1000
            await store.beat(beat("live", now_ms + (3_600_000 if elapsed_s < 4 else 0)))
            found = [one.id for one in await store.live(now_ms)]
            assert found == (["live", "lost"] if elapsed_s < 5 else ["live"])
            await asyncio.sleep(1.0)

    run_virtually(look())
    assert set(fake.stored) == {b"live"}


async def test_a_heartbeat_of_another_version_does_no_harm(
    store: GatewayStore, fake: FakeHash
) -> None:
    """One that cannot be read is left out and left alone; unknown members are ignored."""
    await store.beat(beat("known", 100))
    fake.stored[b"odd"] = b"\x01"
    packed = fake.stored[b"known"]
    assert packed[0] == 0x8E  # a map of 14 members
    fake.stored[b"known"] = b"\x8f" + packed[1:] + b"\xa3new\x01"
    assert [one.id for one in await store.live(100)] == ["known"]
    assert b"odd" in fake.stored
