"""The cluster that experiments run on; some of its rank profiles misbehave."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.harness.cluster import Cluster, even_ids, fill, open_gateway
from bench.harness.cluster import run_cluster as run_workers
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.tail import CoverageSettings, HedgingSettings, ProbationSettings
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.gateway.gateway import Gateway
from lab.journal import VARIABLE, Stint, read_stints
from lab.work import CRASHED, DEGRADED

COLLECTION = "lab"
DOCUMENTS_A_SHARD = 20  # the same in each shard, so that coverage counts shards
KILL_GRACE_MS = WorkerSettings().kill_grace_ms
_TOLD_TIMEOUT_S = 60.0
SLEEP, BURN, BLOCK, HANG = "lab-sleep", "lab-burn", "lab-block", "lab-hang"
CRASH, CRASH_ONCE, LEAK = "lab-crash", "lab-crash-once", "lab-leak"
DEPENDENCY, STALL = "lab-dependency", "lab-stall"
HOOK_FAILS, HOOK_BLOCKS = "lab-hook-fails", "lab-hook-blocks"
_SECOND_PHASES = {
    SLEEP: "lab.work:sleep",
    BURN: "lab.work:burn",
    BLOCK: "lab.work:block",
    HANG: "lab.work:hang",
    CRASH: "lab.work:crash",
    CRASH_ONCE: "lab.work:crash_once",
    LEAK: "lab.work:leak",
    DEPENDENCY: "lab.work:dependency",
    STALL: "lab.work:stall",
}
_HOOKS = {HOOK_FAILS: "lab.work:hook_fails", HOOK_BLOCKS: "lab.work:hook_blocks"}
PROFILES = {
    **{
        name: RankProfile(first_phase="noop", second_phase=function, candidates=1, fields=[])
        for name, function in _SECOND_PHASES.items()
    },
    **{name: RankProfile(first_phase="noop", enrich=function) for name, function in _HOOKS.items()},
}


# An experiment turns on only what it is about, so that nothing else explains its figures.
_OFF = {
    "hedging": HedgingSettings(max_extra_load=0.0),
    "coverage": CoverageSettings(max_late_load=0.0),
    "probation": ProbationSettings(max_ejection_percent=0.0),
}


@dataclass(frozen=True, slots=True)
class LabCluster:
    """A running cluster, and the journal of its scorers."""

    cluster: Cluster

    def degrade(self, *, is_degraded: bool) -> None:
        """Let `lab.work.dependency` be slow from now on, or recover."""
        if is_degraded:
            (self.cluster.folder / "degraded").touch()
        else:
            (self.cluster.folder / "degraded").unlink()

    def stints(self, since: float = 0.0) -> list[Stint]:
        """The tasks that its scorers have started since an instant of `time.monotonic()`."""
        return read_stints(self.cluster.folder / "journal", since)


@asynccontextmanager
async def run_cluster(
    num_shards: int = 8,
    *,
    num_workers: int = 4,
    num_replicas: int = 1,
    scorers: int = 2,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[LabCluster]:
    """Start a server and workers; none of their processes is left after the block.

    Args:
        num_shards: of the cluster.
        num_workers: worker processes, which share the shards.
        num_replicas: of each shard.
        scorers: scorer processes of each worker.
        environment: further variables of its processes.
    """
    num_groups = num_workers // num_replicas
    layout = [range(number % num_groups, num_shards, num_groups) for number in range(num_workers)]

    def variables(folder: Path) -> dict[str, str]:
        return {
            "HEDGEROW_WORKER__SCORERS": str(scorers),
            VARIABLE: str(folder / "journal"),
            DEGRADED: str(folder / "degraded"),
            CRASHED: str(folder / "crashed"),
            **(environment or {}),
        }

    with run_workers(layout, profiles=PROFILES, environment=variables) as cluster:
        yield LabCluster(cluster)


@asynccontextmanager
async def connect(lab: LabCluster, **groups: BaseModel) -> AsyncIterator[Gateway]:
    """A gateway in this process to a cluster whose shards hold equally many documents.

    Admission control, hedging, probation and late replies are off unless `groups` has settings for
    them.
    """
    async with open_gateway(lab.cluster, **{**_OFF, **groups}) as gateway:
        await fill(gateway, COLLECTION, even_ids(gateway.num_shards, DOCUMENTS_A_SHARD))
        async with asyncio.timeout(_TOLD_TIMEOUT_S):
            await _told(gateway)
        yield gateway


async def _told(gateway: Gateway) -> None:
    """Wait until the heartbeats count all documents, so that coverage is of all of them."""
    counts: list[int] = []
    while len(counts) < gateway.num_shards or min(counts) < DOCUMENTS_A_SHARD:
        await asyncio.sleep(0.05)
        shards = (await gateway.status())["shards"]
        counts = [shard["documents"].get(COLLECTION, 0) for shard in shards]


async def workers_now(gateway: Gateway) -> list[dict[str, Any]]:
    """The workers in the status, once their heartbeats have reported their present state."""
    await asyncio.sleep(2 * gateway.settings.worker.heartbeat_interval_s)
    workers: list[dict[str, Any]] = (await gateway.status())["workers"]
    return workers
