"""Waiting until writes are applied, in virtual time, while workers come and go."""

from collections.abc import Collection
from unittest.mock import AsyncMock

import pytest

from hedgerow.common.errors import LoadInterruptedError, RedisUnavailableError
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.gateway.writes.load import LoadReport
from hedgerow.gateway.writes.replica_progress import ReplicaProgress
from tests.support.virtual_time import run_virtually

END = "7-0"


class Replicas:
    """Two replicas of shard 0: what they have applied, and what a gateway knows of their workers.

    Attributes:
        truly_live: those whose workers' heartbeats are in Redis.
        num_read: how often the heartbeats were read again.
    """

    def __init__(self, *, known: Collection[str], truly_live: Collection[str]) -> None:
        self.applied = {"stays": END, "returns": "3-0"}
        self.truly_live = set(truly_live)
        self.num_read = 0
        self.is_redis_away = False
        self._known = set(known)
        log = AsyncMock(spec=ShardLog)
        log.applied_of.side_effect = self._applied_of
        self.progress = ReplicaProgress(
            log,
            10,
            timeout_s=1.0,
            live_replicas=lambda _shard: self._known,
            read_live=self._read_live,
        )

    async def wait(self) -> None:
        """Wait until the entry is applied."""
        await self.progress.wait_applied({0: END}, LoadReport())

    async def _applied_of(self, _shards: Collection[int]) -> dict[int, dict[str, str]]:
        return {0: dict(self.applied)}

    async def _read_live(self) -> None:
        if self.is_redis_away:
            raise RedisUnavailableError("away")
        self.num_read += 1
        self._known = set(self.truly_live)


def test_a_worker_that_has_just_returned_is_waited_for() -> None:
    """A replica that lags is left out only by heartbeats that were read after its position."""

    async def scenario() -> None:
        replicas = Replicas(known={"stays"}, truly_live={"stays", "returns"})
        with pytest.raises(LoadInterruptedError):
            await replicas.wait()
        replicas.applied["returns"] = END
        await replicas.wait()

    run_virtually(scenario())


def test_a_worker_that_is_gone_is_not_waited_for() -> None:
    """Heartbeats are read once, and the write is acknowledged without the dead worker's replica."""

    async def scenario() -> None:
        replicas = Replicas(known={"stays"}, truly_live={"stays"})
        await replicas.wait()
        assert replicas.num_read == 1

    run_virtually(scenario())


def test_nothing_is_read_while_no_replica_lags() -> None:
    """While all replicas have applied the entry, no heartbeat is read for it."""

    async def scenario() -> None:
        replicas = Replicas(known={"stays"}, truly_live={"stays"})
        replicas.applied["returns"] = END
        await replicas.wait()
        assert replicas.num_read == 0

    run_virtually(scenario())


def test_a_write_is_not_acknowledged_by_heartbeats_that_cannot_be_read() -> None:
    """While Redis does not answer, a replica that lags is not left out."""

    async def scenario() -> None:
        replicas = Replicas(known={"stays"}, truly_live={"stays"})
        replicas.is_redis_away = True
        with pytest.raises(LoadInterruptedError):
            await replicas.wait()
        replicas.is_redis_away = False
        await replicas.wait()

    run_virtually(scenario())
