"""A worker's signs of life, and how it takes leave."""

import asyncio
from unittest.mock import AsyncMock, Mock

import structlog

from common.errors import ConfigurationError
from common.heartbeat import Heartbeat
from common.registry import Registry
from shard_worker.vital_signs import VitalSigns
from tests.unit.virtual_time import run_virtually


def test_a_worker_that_redis_refuses_beats_on() -> None:
    """A password that was changed ends no worker: it says so once a minute, and tries again."""
    registry = AsyncMock(spec=Registry)
    registry.beat.side_effect = ConfigurationError("the server refuses the user or password")
    registry.forget_worker.side_effect = ConfigurationError("the same")
    signs = VitalSigns(registry, lambda: Mock(spec=Heartbeat), interval_s=0.5)

    async def scenario() -> None:
        running = asyncio.create_task(signs.run())
        await asyncio.sleep(30.1)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
        await signs.leave("w")

    with structlog.testing.capture_logs() as logs:
        run_virtually(scenario())
    assert registry.beat.await_count == 61
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["heartbeat_refused"]
