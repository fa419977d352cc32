"""What a worker reports about itself in its heartbeats."""

import os
import time
from dataclasses import dataclass, field
from typing import Any

from hedgerow.common import __version__
from hedgerow.common.observability.telemetry import LagWatch
from hedgerow.common.shard_log.operations import MIRRORS
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.common.wire.search_options import LEVEL
from hedgerow.shard_worker.context import Context
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.placement.follower import PlacementFollower
from hedgerow.shard_worker.placement.held_shards import HeldShards
from hedgerow.shard_worker.serving.answering import Answering
from hedgerow.shard_worker.serving.fetch import FetchLanes
from hedgerow.shard_worker.serving.probation import ProbationWatch
from hedgerow.shard_worker.serving.process_usage import ProcessUsage
from hedgerow.shard_worker.serving.served_profiles import ServedProfiles
from hedgerow.shard_worker.serving.shard_state import ShardStates
from hedgerow.shard_worker.serving.work_accounting import WorkAccounting
from hedgerow.shard_worker.splitting.cloner import ShardCloner
from hedgerow.shard_worker.vectors.library import is_installed
from hedgerow.shard_worker.writing import Writing


@dataclass(slots=True)
class WorkerReport:
    """Reads the parts of a worker; each heartbeat is what they say at its time.

    Attributes:
        placement: None if the worker serves shards that it was given.
        cloner: None if no split divides shards that this process serves.
    """

    context: Context
    served: ServedProfiles
    indexer: ProcessLane
    fetch_lanes: FetchLanes
    states: ShardStates
    accounting: WorkAccounting
    writing: Writing
    answering: Answering
    held: HeldShards
    probation: ProbationWatch
    placement: PlacementFollower | None
    lag: LagWatch
    cloner: ShardCloner | None = None
    _usage: ProcessUsage = field(init=False)
    _started_at: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._usage = ProcessUsage({"scorers": self.served.load, "indexer": self.indexer.load})

    def heartbeat(self) -> Heartbeat:
        """What the worker reports about itself now."""
        settings = self.context.settings
        return Heartbeat(
            id=self.context.worker_id,
            pid=os.getpid(),
            host=settings.worker.host_name,
            version=__version__,
            beat_at_ms=self.context.server_ms(),
            started_at_ms=self.context.clock.server_us(self._started_at) // 1000,
            documents=self._documents(),
            lanes={
                "process": self.served.load(),
                "reading": self.fetch_lanes.reading.load(),
                "thread": self.fetch_lanes.enriching.load(),
                "indexer": self.indexer.load(),
                "loop": self.lag.as_dict(),
            },
            counters=self._counters(),
            statistics=self.writing.jobs.tables(),
            ledger=self.accounting.as_dict(),
            leaves=sorted(self.probation.leaves),
            shortages=self.writing.storage.to_json(),
            attaches=True,
            writes=MIRRORS,
            traces=self.context.tracing is not None,
            search_options=LEVEL,
            vectors=is_installed(),
            retracts=True,
            bounds_scores=True,
            embedding=self.writing.embedding(),
            metrics={
                "scraped": settings.worker.metrics_port is not None,
                "usage": self._usage.read(),
                "loop_lag": self.lag.lags.to_json(),
                "redis_reconnects": self.answering.num_reconnects,
            },
            **self.writing.applier.progress(),
            **self._offer(),
        )

    def _documents(self) -> dict[int, dict[str, int]]:
        """Shard → collection uid → documents that it has here.

        What can be cloned is reported as empty as long as nothing has it: the placement need not
        wait until some of it has moved.
        """
        cloner = self.cloner
        reported: dict[int, dict[str, int]] = (
            {one: {} for one in cloner.available} if cloner else {}
        )
        return reported | self.states.documents()

    def _offer(self) -> dict[str, Any]:
        """The heartbeat's fields about placement."""
        placement, cloner, held = self.placement, self.cloner, self.held.shards
        worker = self.context.settings.worker
        if placement is None:
            return {"stored": list(held)}
        return {
            "joins": True,
            "splits": True,
            "splits_servers": True,
            "clones": True,
            "capacity": worker.capacity,
            "zone": worker.zone,
            # What can be cloned here is as good as stored: the placement prefers it.
            "stored": sorted(placement.stored.union(held, cloner.available if cloner else ())),
            "placement": placement.version,
            "unready": placement.unready(self.writing.applier.gaps),
        }

    def _counters(self) -> dict[str, int]:
        counters, tracing = self.context.counters.as_dict(), self.context.tracing
        if tracing is not None and tracing.queue.num_dropped:
            counters["spans_dropped"] = tracing.queue.num_dropped
        return counters
