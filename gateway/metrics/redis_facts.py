"""Reads from Redis, for a scrape, what no gateway knows by itself."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.snapshots.status import SnapshotStatus
from hedgerow.common.state.registry import Registry
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.operations.quarantine import QuarantineAdmin
from hedgerow.gateway.operations.snapshots import Snapshots

# Much less than Prometheus's scrape_timeout (10 s): a scrape must show that Redis does not answer.
_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What lies in Redis; all of it empty if Redis does not answer.

    Attributes:
        is_up: whether Redis answered.
        backlog: shard → search requests that wait.
        num_quarantined: queries in quarantine.
        snapshots: shard → the state of its snapshots.
        log_lag_s: worker and shard → age of the oldest log entry that its replica has not applied,
            in s; 0 if there is none.
    """

    is_up: bool = False
    backlog: Mapping[int, int] = field(default_factory=dict)
    num_quarantined: int | None = None
    snapshots: Mapping[int, SnapshotStatus] = field(default_factory=dict)
    log_lag_s: Mapping[tuple[str, int], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RedisFactsReader:
    """Where the facts are read."""

    registry: Registry
    log: ShardLog
    snapshots: Snapshots
    quarantine: QuarantineAdmin
    num_shards: int

    async def read(self, heartbeats: Iterable[Heartbeat], now_ms: int) -> RedisFacts:
        """Read them, in four round trips.

        Args:
            heartbeats: of the workers whose logs are of interest.
            now_ms: the Redis server's clock.
        """
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return RedisFacts(
                    is_up=True,
                    backlog=await self.registry.backlog(range(self.num_shards)),
                    num_quarantined=len(await self.quarantine.list()),
                    snapshots=await self.snapshots.status(),
                    log_lag_s=await self._log_lag_s(heartbeats, now_ms),
                )
        except (RedisUnavailableError, ConfigurationError, TimeoutError):
            return RedisFacts()

    async def _log_lag_s(
        self, heartbeats: Iterable[Heartbeat], now_ms: int
    ) -> dict[tuple[str, int], float]:
        positions = {
            (beat.id, shard): applied
            for beat in heartbeats
            for shard, applied in beat.applied.items()
        }
        oldest = await self.log.oldest_after(
            [(shard, applied) for (_, shard), applied in positions.items()]
        )
        return {
            place: 0.0 if entry is None else max(now_ms - int(entry.partition("-")[0]), 0) / 1000
            for place, entry in zip(positions, oldest, strict=True)
        }
