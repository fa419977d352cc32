"""The embedded cluster that experiments run on, which also knows rank profiles that misbehave."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness.even_ids import even_ids
from bench.harness.profiles import to_toml
from common.config import (
    BreakerSettings,
    RankProfile,
    RedisSettings,
    Settings,
    WorkerSettings,
)
from common.config_tail import (
    AdmissionSettings,
    CoverageSettings,
    HedgingSettings,
    ProbationSettings,
)
from gateway.cluster import ClusterOptions, LocalCluster
from gateway.service import Gateway
from lab.journal import VARIABLE, Stint, read_stints
from lab.work import CRASHED, DEGRADED

COLLECTION = "lab"
DOCUMENTS_A_SHARD = 20  # as many in each, so that coverage counts shards
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


@dataclass(frozen=True, slots=True)
class LabCluster:
    """A running cluster.

    Attributes:
        num_shards: of it.
        redis_url: its server.
        folder: where it keeps everything.
    """

    num_shards: int
    redis_url: str
    folder: Path

    @property
    def settings(self) -> Settings:
        """Settings of a gateway to it, by which it does no more than it must.

        Admission control, hedging, probation and late replies are off: an experiment turns on what
        it is about, and nothing else then explains what it sees.
        """
        return Settings(
            redis=RedisSettings(url=self.redis_url),
            admission=AdmissionSettings(enabled=False),
            hedging=HedgingSettings(max_extra_load=0.0),
            coverage=CoverageSettings(max_late_load=0.0),
            probation=ProbationSettings(max_ejection_percent=0.0),
            rank_profiles=PROFILES,
        )

    def degrade(self, *, is_degraded: bool) -> None:
        """Let `lab.work.dependency` take long from now on, or be well again."""
        if is_degraded:
            (self.folder / "degraded").touch()
        else:
            (self.folder / "degraded").unlink()

    def stints(self, since: float = 0.0) -> list[Stint]:
        """The works that its scorers have started since then, an instant of `time.monotonic()`."""
        return read_stints(self.folder / "journal", since)


@asynccontextmanager
async def run_cluster(
    num_shards: int = 8,
    *,
    num_workers: int = 4,
    num_replicas: int = 1,
    scorers: int = 2,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[LabCluster]:
    """Start the cluster that `gateway up` starts; no process of it is left after the block.

    Args:
        num_shards: shards.
        num_workers: worker processes, which share the shards.
        num_replicas: copies of each shard.
        scorers: scorer processes of each worker.
        environment: settings of its processes beside those.
    """
    with tempfile.TemporaryDirectory(prefix="hedgerow-lab-") as name:
        folder = Path(name)
        configuration = folder / "hedgerow.toml"
        configuration.write_text(to_toml(PROFILES), encoding="utf-8")
        options = ClusterOptions(
            data=folder / "data",
            num_shards=num_shards,
            num_workers=num_workers,
            num_replicas=num_replicas,
            port=0,
            environment={
                "HEDGEROW_CONFIG": str(configuration),
                "HEDGEROW_LOG_LEVEL": "error",
                "HEDGEROW_WORKER__SCORERS": str(scorers),
                VARIABLE: str(folder / "journal"),
                DEGRADED: str(folder / "degraded"),
                CRASHED: str(folder / "crashed"),
                **(environment or {}),
            },
        )
        cluster = LocalCluster(options, Settings(), lambda _event: None)
        async with contextlib.AsyncExitStack() as started:
            started.push_async_callback(cluster.stop)
            await cluster.start()
            yield LabCluster(num_shards, cluster.redis_url, folder)


@asynccontextmanager
async def connect(
    cluster: LabCluster,
    *,
    admission: AdmissionSettings | None = None,
    breaker: BreakerSettings | None = None,
    coverage: CoverageSettings | None = None,
    hedging: HedgingSettings | None = None,
) -> AsyncIterator[Gateway]:
    """A gateway in this process to a cluster whose shards hold as many documents each."""
    chosen = {
        "admission": admission,
        "breaker": breaker,
        "coverage": coverage,
        "hedging": hedging,
    }
    settings = cluster.settings.model_copy(
        update={name: group for name, group in chosen.items() if group is not None}
    )
    async with Gateway.connect(settings, cluster.num_shards) as gateway:
        fields = {"fields": {"title": "text"}, "rank_profile": "noop"}
        await gateway.collections.put(COLLECTION, fields)
        await gateway.documents.load(COLLECTION, _documents(cluster.num_shards), wait="applied")
        async with asyncio.timeout(_TOLD_TIMEOUT_S):
            await _told(gateway)
        yield gateway


async def _told(gateway: Gateway) -> None:
    """Return once the heartbeats tell of all documents, so that coverage is of all of them."""
    counts: list[int] = []
    while len(counts) < gateway.num_shards or min(counts) < DOCUMENTS_A_SHARD:
        await asyncio.sleep(0.05)
        shards = (await gateway.status())["shards"]
        counts = [shard["documents"].get(COLLECTION, 0) for shard in shards]


async def workers_now(gateway: Gateway) -> list[dict[str, Any]]:
    """The workers, as the status has them, once heartbeats have told how they are by now."""
    await asyncio.sleep(2 * gateway.settings.worker.heartbeat_interval_s)
    workers: list[dict[str, Any]] = (await gateway.status())["workers"]
    return workers


async def _documents(num_shards: int) -> AsyncIterator[bytes]:
    for document_id in even_ids(num_shards, DOCUMENTS_A_SHARD):
        yield json.dumps({"id": document_id, "title": "a document"}).encode() + b"\n"
