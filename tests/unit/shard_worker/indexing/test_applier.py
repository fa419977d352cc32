"""Following the logs, when Redis refuses to have them read."""

import asyncio
from unittest.mock import AsyncMock, Mock

import pytest
import structlog

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.log import START, ShardLog
from hedgerow.common.state.registry import Registry
from hedgerow.common.tasks import run_together
from hedgerow.shard_worker.indexing.applier import Applier
from hedgerow.shard_worker.indexing.indexer_client import IndexerClient
from hedgerow.shard_worker.indexing.shard_report import ShardState
from tests.support.virtual_time import run_virtually


def test_a_worker_that_redis_refuses_follows_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Redis refuses, the applier goes on, says so once a minute, and does not spin."""
    read = AsyncMock(side_effect=ConfigurationError("the server refuses XREAD"))
    monkeypatch.setattr(ShardLog, "read", read)
    monkeypatch.setattr(ShardLog, "lengths", read)
    monkeypatch.setattr(ShardLog, "applied", AsyncMock(return_value={"r": START}))
    monkeypatch.setattr(ShardLog, "record_applied", AsyncMock(return_value={"r": START}))

    async def scenario() -> None:
        registry = AsyncMock(spec=Registry)
        registry.collections.return_value = {}
        applier = Applier(
            Mock(spec=RedisClient),
            Keys(),
            registry,
            Mock(spec=IndexerClient),
            Settings(),
            lambda _state: None,
            Counters(),
        )
        applier.states[0] = ShardState(0, "r", START, [])
        running = asyncio.create_task(run_together(applier.run(), applier.follow(0)))
        await asyncio.sleep(50.5)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])

    with structlog.testing.capture_logs() as logs:
        run_virtually(scenario())
    assert 60 < read.await_count < 200
    events = sorted(line["event"] for line in logs if line["log_level"] == "error")
    assert events == ["backlog_refused", "log_refused"]
