"""Heartbeats as the registry reads them."""

import asyncio
from typing import Any, cast

from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat


class Stored:
    """Redis with one hash."""

    def __init__(self) -> None:
        self.beats: dict[bytes, bytes] = {}

    async def execute(self, *_command: Any) -> dict[bytes, bytes]:
        """HGETALL."""
        return dict(self.beats)


def beat(worker: str, beat_at_ms: int) -> bytes:
    """A heartbeat as stored."""
    return Heartbeat(worker, 1, "here", [0], "1", beat_at_ms, 0).pack()


def test_only_heartbeats_that_have_changed_are_unpacked_again() -> None:
    """Others are those of the last reading; malformed ones and those of no worker are left out."""
    stored = Stored()
    registry = Registry(cast("RedisClient", stored), Keys.of(RedisSettings()))

    def read() -> dict[str, Heartbeat]:
        return asyncio.run(registry.heartbeats())

    stored.beats = {b"one": beat("one", 1), b"other": beat("other", 1), b"odd": b"?"}
    first = read()
    assert {worker: found.beat_at_ms for worker, found in first.items()} == {"one": 1, "other": 1}
    stored.beats[b"other"] = beat("other", 2)
    second = read()
    assert second["one"] is first["one"]
    assert second["other"].beat_at_ms == 2
    stored.beats[b"other"] = b"?"
    assert list(read()) == ["one"]
    del stored.beats[b"one"]
    assert read() == {}
