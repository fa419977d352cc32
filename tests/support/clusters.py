"""A small cluster of real worker processes, for tests that damage it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.harness.profiles import to_toml
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from tests.support.launching import Process, launch
from tests.support.processes import descendants_of, is_alive
from tests.support.redis_kinds import environment_of
from tests.support.servers import RedisServer, temporary_server
from tests.support.waiting import block_until, until

ROOT = Path(__file__).parent.parent.parent
HOOKS = "tests.integration.support.hooks"
PROFILES = {
    "numbers": RankProfile(second_phase=f"{HOOKS}:by_number"),
    "polite": RankProfile(second_phase=f"{HOOKS}:polite"),
    "tardy_here": RankProfile(second_phase=f"{HOOKS}:tardy_here"),
    "late_here": RankProfile(second_phase=f"{HOOKS}:late_here"),
    "careful": RankProfile(second_phase=f"{HOOKS}:by_number", canary=True),
    "creeping": RankProfile(second_phase=f"{HOOKS}:creep"),
    "slow_while": RankProfile(second_phase=f"{HOOKS}:slow_while"),
    "greeting": RankProfile(enrich=f"{HOOKS}:greet"),
    "also_greeting": RankProfile(enrich=f"{HOOKS}:greet"),
    "adding": RankProfile(enrich=f"{HOOKS}:add"),
    "noop_process": RankProfile(first_phase="noop", lane="process"),
}

# By default, work that is not urgent gives way to all else: on a machine that is busy with other
# tests, it may get no core for minutes.
AS_ANY_OTHER = {"HEDGEROW_WORKER__INDEXER_NICE": "0", "HEDGEROW_WORKER__PROCESS_NICE": "0"}


@dataclass
class Cluster:
    """Worker processes over one server; shard n belongs to worker n % num_workers and the next.

    Attributes:
        num_replicas: workers that serve each shard.
        joins: whether the workers join, and serve what a placement assigns to them.
        redis: how a gateway reaches Redis, if it is more than `server`.
        log: the file to which all workers' stderr is appended, relative to `folder`; None to share
            the test's own.
    """

    server: RedisServer
    folder: Path
    num_shards: int = 4
    num_workers: int = 2
    num_replicas: int = 1
    joins: bool = False
    redis: RedisSettings | None = None
    environment: dict[str, str] = field(default_factory=dict)
    log: Path | None = None
    workers: dict[int, Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.log:
            self.log = self.folder / self.log

    @property
    def settings(self) -> Settings:
        """Settings of a gateway to it, which takes a silent worker for dead when workers do."""
        expiry_s = self.environment.get("HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S", "2.0")
        return Settings(
            redis=self.redis or RedisSettings(url=self.server.url, reconnect_max_s=0.3),
            gateway=GatewaySettings(membership_poll_s=0.2, write_timeout_s=60),
            worker=WorkerSettings(heartbeat_expiry_s=float(expiry_s)),
            rank_profiles=PROFILES,
        )

    def shards_of(self, worker: int) -> list[int]:
        """The shards that a worker serves."""
        return [
            shard
            for shard in range(self.num_shards)
            if (worker - shard) % self.num_workers < self.num_replicas
        ]

    def data(self, worker: int) -> Path:
        """The data folder of a worker."""
        return self.folder / f"data-{worker}"

    def start(self, worker: int, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        """Start one worker's process, with an `environment` that it alone has."""
        profiles = self.folder / "hedgerow.toml"
        profiles.write_text(to_toml(PROFILES), encoding="utf-8")
        with contextlib.ExitStack() as opened:
            self.workers[worker] = launch(
                [
                    sys.executable,
                    "-m",
                    "hedgerow.shard_worker.main",
                    "--id",
                    f"w{worker}",
                    *self._which(worker),
                    "--num-shards",
                    str(self.num_shards),
                    "--redis",
                    self.settings.redis.url,
                    "--data",
                    str(self.data(worker)),
                ],
                cwd=ROOT,
                env={
                    **os.environ,
                    "HEDGEROW_CONFIG": str(profiles),
                    "HEDGEROW_WORKER__SCORERS": "1",
                    "HEDGEROW_WORKER__THREADS": "2",
                    "HEDGEROW_WORKER__THREAD_TIMEOUT_S": "0.5",
                    "HEDGEROW_WORKER__HEARTBEAT_INTERVAL_S": "0.2",
                    "HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S": "1.0",
                    "HEDGEROW_WORKER__QUARANTINE_EXPIRY_S": "60",
                    "HEDGEROW_REDIS__RECONNECT_MAX_S": "0.3",
                    **environment_of(self.settings.redis),
                    **self.environment,
                    **environment,
                },
                stderr=opened.enter_context(self.log.open("ab")) if self.log else None,
            )

    def _which(self, worker: int) -> list[str]:
        if self.joins:
            return ["--join"]
        return ["--shards", ",".join(map(str, self.shards_of(worker)))]

    def signal(self, worker: int, number: signal.Signals) -> None:
        """Send a signal to one worker's process."""
        self.workers[worker].send_signal(number)

    def kill(self, worker: int) -> None:
        """SIGKILL one worker."""
        self.workers[worker].kill()
        self.workers[worker].wait(60)

    def lose(self, worker: int) -> None:
        """SIGKILL one worker, and remove its data folder."""
        started = descendants_of(self.workers[worker].pid)
        self.kill(worker)
        # Its indexer notices that it is gone, and may write until then.
        block_until(lambda: not any(map(is_alive, started)), what=f"worker {worker} is gone")
        shutil.rmtree(self.data(worker))

    def stop(self) -> None:
        """End every worker."""
        for process in self.workers.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.workers.values():
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(60)


@contextlib.contextmanager
def running_cluster(
    server: RedisServer,
    folder: Path,
    *,
    first_has: Mapping[str, str] = MappingProxyType({}),
    **options: Any,
) -> Iterator[Cluster]:
    """A cluster for the block; its processes are gone afterwards.

    Args:
        server: its Redis.
        folder: where it keeps everything.
        first_has: environment that worker 0 alone has, until it is started again.
        options: fields of `Cluster`.
    """
    cluster = Cluster(server, folder, **options)
    try:
        cluster.start(0, first_has)
        for worker in range(1, cluster.num_workers):
            cluster.start(worker)
        yield cluster
    finally:
        cluster.stop()


@contextlib.contextmanager
def cluster_of_its_own(
    *server_options: str, first_has: Mapping[str, str] = MappingProxyType({}), **options: Any
) -> Iterator[Cluster]:
    """As `running_cluster`, over a server of its own; both keep everything in that one's folder."""
    with (
        temporary_server(*server_options) as server,
        running_cluster(server, server.folder, first_has=first_has, **options) as cluster,
    ):
        yield cluster


@asynccontextmanager
async def gateway_to(cluster: Cluster) -> AsyncIterator[Gateway]:
    """A gateway in this process, once every shard is live."""
    async with Gateway.connect(cluster.settings, num_shards=cluster.num_shards) as gateway:
        await all_live(gateway)
        yield gateway


async def all_live(gateway: Gateway, timeout_s: float = 60.0) -> None:
    """Wait until each shard has a live worker."""
    await until(lambda: all(gateway._membership.live), timeout_s)


async def ndjson(documents: Iterable[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Documents as a stream, cut after each line."""
    for document in documents:
        yield json.dumps(document).encode() + b"\n"


async def load(gateway: Gateway, collection: str, documents: Sequence[dict[str, Any]]) -> None:
    """Define a collection and load documents until they can be found."""
    await gateway.collections.put(collection, {})
    await load_into(gateway, collection, documents)


async def load_into(gateway: Gateway, collection: str, documents: Sequence[dict[str, Any]]) -> None:
    """Load documents into a collection as it is defined, until they can be found."""
    report = await gateway.documents.load(collection, ndjson(documents), "applied")
    assert (report.accepted, report.rejected) == (len(documents), [])


async def ask(gateway: Gateway, collection: str, query: str, **changes: Any) -> SearchResult:
    """Search once, by a deadline that a loaded machine can meet."""
    wanted: dict[str, Any] = {"deadline_ms": 10_000.0, **changes}
    return await gateway.search(SearchQuery(collection, query, **wanted))
