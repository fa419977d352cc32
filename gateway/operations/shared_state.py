"""Reads the part of the cluster's state that is stored in Redis, for the status."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.server_info import ServerInfo
from hedgerow.common.snapshots.status import SnapshotStatus
from hedgerow.common.state.gateways import GatewayHeartbeat, GatewayStore
from hedgerow.common.state.optimising import Optimising
from hedgerow.common.state.registry import Registry
from hedgerow.common.state.statistics import StatisticsStatus, StatisticsStore
from hedgerow.gateway.operations.optimising import Optimiser
from hedgerow.gateway.operations.quarantine import QuarantineAdmin
from hedgerow.gateway.operations.snapshots import Snapshots
from hedgerow.gateway.operations.splits import SplitAdmin
from hedgerow.gateway.reindexing.admin import ReindexAdmin


@dataclass(frozen=True, slots=True)
class SharedState:
    """The state that all gateways share; everything is empty if Redis does not answer.

    Attributes:
        server: the Redis server; None if it does not answer.
        backlog: shard → waiting search requests.
        statistics: collection uid → state of its term statistics.
        snapshots: shard → state of its snapshots.
        optimising: collection uid → progress of optimising its indexes.
        quarantine: the queries that have killed scorers, as JSON.
        gateways: the live gateways.
        split: the split of the shards in progress, as JSON; None if there is none.
        reindex: the reindex in progress, as JSON; None if there is none.
    """

    server: ServerInfo | None = None
    backlog: Mapping[int, int] = field(default_factory=dict)
    statistics: Mapping[str, StatisticsStatus] = field(default_factory=dict)
    snapshots: Mapping[int, SnapshotStatus] = field(default_factory=dict)
    optimising: Mapping[str, Optimising] = field(default_factory=dict)
    quarantine: Sequence[Mapping[str, Any]] = ()
    gateways: Sequence[GatewayHeartbeat] = ()
    split: Mapping[str, Any] | None = None
    reindex: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SharedStateReader:
    """Reads the parts of the shared state.

    Attributes:
        num_shards: shards in the cluster.
        timeout_s: longest wait for all of them together, in s.
    """

    client: RedisClient
    registry: Registry
    statistics: StatisticsStore
    snapshots: Snapshots
    optimiser: Optimiser
    quarantine: QuarantineAdmin
    gateways: GatewayStore
    splits: SplitAdmin
    reindexes: ReindexAdmin
    num_shards: int
    timeout_s: float

    async def read(self, uids: Iterable[str], now_ms: int) -> SharedState:
        """Read the shared state; empty if Redis does not answer.

        Args:
            uids: the collections.
            now_ms: the Redis server's clock.
        """
        try:
            async with asyncio.timeout(self.timeout_s):
                return SharedState(
                    server=await self.client.server_info(),
                    backlog=await self.registry.backlog(range(self.num_shards)),
                    statistics=await self.statistics.status(uids, self.num_shards),
                    snapshots=await self.snapshots.status(),
                    optimising=await self.optimiser.progress(uids),
                    quarantine=await self.quarantine.list(),
                    gateways=await self.gateways.live(now_ms),
                    split=await self.splits.running(),
                    reindex=await self.reindexes.running(),
                )
        except (RedisUnavailableError, ConfigurationError, TimeoutError):
            return SharedState()
