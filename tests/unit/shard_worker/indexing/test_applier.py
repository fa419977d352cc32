"""Following the logs: when Redis refuses to have them read, and after a worker was silent."""

import asyncio
from unittest.mock import AsyncMock, Mock

import pytest
import structlog

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.shard_log.entries import START, Entry
from hedgerow.common.shard_log.log import ShardLog
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
            Mock(spec=RedisClient, data_clients=()),
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


def test_a_worker_that_was_silent_serves_once_it_has_what_others_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is heard first, then reads the others' positions; what it read before says nothing."""
    others = {"r": "5-0", "other": "5-0"}
    found = asyncio.Queue[list[Entry]]()

    async def read(*_arguments: object) -> list[Entry]:
        return await found.get()

    monkeypatch.setattr(ShardLog, "read", read)
    monkeypatch.setattr(ShardLog, "lengths", AsyncMock(return_value={0: 0}))
    monkeypatch.setattr(ShardLog, "gap", AsyncMock(return_value=None))
    monkeypatch.setattr(ShardLog, "applied", AsyncMock(side_effect=lambda _shard: dict(others)))
    monkeypatch.setattr(ShardLog, "record_applied", AsyncMock(side_effect=lambda *_: dict(others)))
    monkeypatch.setattr(ShardLog, "trim_to", AsyncMock())
    withheld: list[frozenset[int]] = []
    arrived, since = asyncio.Event(), list[float]()

    async def until_heard(at: float) -> None:
        since.append(at)
        await arrived.wait()

    async def scenario() -> None:
        registry = AsyncMock(spec=Registry)
        registry.collections.return_value = {}
        indexer = Mock(spec=IndexerClient)
        applier = Applier(
            Mock(spec=RedisClient, data_clients=()),
            Keys(),
            registry,
            indexer,
            Settings(),
            lambda _state: None,
            Counters(),
            withheld.append,
            until_heard=until_heard,
        )
        applier.states[0] = ShardState(0, "r", "5-0", [])
        running = asyncio.create_task(run_together(applier.run(), applier.follow(0)))
        await asyncio.sleep(1.0)
        assert applier.withheld == frozenset()

        applier.doubt()
        applier.doubt()
        await asyncio.sleep(5.0)
        assert withheld == [{0}]  # it has not been heard yet
        assert since == [1.0]
        assert applier.progress()["shards"] == [0]  # gateways may send what it will soon take

        others["other"] = "9-0"
        arrived.set()
        await asyncio.sleep(1.0)
        assert applier.behind == {0}
        assert applier.progress()["shards"] == []

        found.put_nowait([])  # the end of the log, when the read began
        await asyncio.sleep(1.0)
        assert applier.withheld == {0}
        found.put_nowait([])  # and now
        await asyncio.sleep(1.0)
        assert applier.withheld == frozenset()
        running.cancel()
        await asyncio.wait([running])

    run_virtually(scenario())
