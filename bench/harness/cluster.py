"""A cluster of real worker processes, and a gateway in this process that asks it."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.harness.processes import descendants
from bench.harness.profiles import to_toml
from bench.harness.second_phases import with_stall
from bench.harness.server import Server, run_server
from common.config import (
    BreakerSettings,
    GatewaySettings,
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
from common.outcome import Outcome
from gateway.result import SearchQuery
from gateway.service import Gateway

PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7))  # eight shards on four workers
COLLECTION = "bench"
LOOP_LANE = "noop"
PROCESS_LANE = "noop_process"
STALLING_LANE = "stalling"  # stalls now and then where the environment says so
BUSY_LANE = "busy"  # computes for a set time
HELD_LANE = "held"  # holds a scorer for a set time
WATCHING_LANE = "watching"  # computes until its budget has expired, and notes when
DRAWN_LANE = "drawn"  # holds it for a time that a simulator's script says
DEADLINE_MS = 2_000.0  # so long that no query of a throughput measurement ends early
_NUM_DOCUMENTS = 400
_START_TIMEOUT_S = 180.0  # of sixteen workers on a machine that does much else
_ROOT = Path(__file__).parents[2]
_SECOND_PHASES = {
    **{
        name: f"bench.harness.second_phases:{name}"
        for name in (STALLING_LANE, BUSY_LANE, HELD_LANE, WATCHING_LANE)
    },
    DRAWN_LANE: "bench.costs.drawn:score",
}
_PROFILES = {
    PROCESS_LANE: RankProfile(first_phase="noop"),
    **{
        name: RankProfile(first_phase="noop", second_phase=function, candidates=1, fields=["title"])
        for name, function in _SECOND_PHASES.items()
    },
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster.

    Attributes:
        workers: the worker processes, in the order of the layout.
        folder: what the workers store.
        environment: of the workers.
        num_shards: shards of the cluster.
        num_replicas: on how many workers each of them is.
    """

    server: Server
    workers: list[subprocess.Popen[bytes]]
    folder: Path
    environment: dict[str, str]
    num_shards: int
    num_replicas: int
    heartbeat_expiry_s: float

    @property
    def notes(self) -> Path:
        """What second phases of `WATCHING_LANE` have noted; see `second_phases.watching`."""
        return Path(self.environment["HEDGEROW_BENCH_NOTES"])

    @property
    def settings(self) -> Settings:
        """Settings of a gateway to it."""
        return Settings(
            redis=RedisSettings(url=self.server.url),
            gateway=GatewaySettings(write_timeout_s=600.0),
            worker=WorkerSettings(heartbeat_expiry_s=self.heartbeat_expiry_s),
            rank_profiles=_PROFILES,
        )

    def check(self) -> None:
        """Be sure that no worker has ended, since nobody starts it again.

        Raises:
            RuntimeError: one has; names it.
        """
        for number, worker in enumerate(self.workers):
            if (status := worker.poll()) is not None:
                raise RuntimeError(f"worker-{number} has ended with status {status}")

    def parts(self) -> dict[str, list[int]]:
        """The processes of each part whose CPU is counted, but for the gateway's."""
        workers = [worker.pid for worker in self.workers]
        return {
            "Redis": [self.server.pid],
            "workers": workers,
            "scorers": [pid for worker in workers for pid in descendants(worker)],
        }


@contextlib.contextmanager
def run_cluster(
    layout: Sequence[Sequence[int]] = PAIRS,
    *,
    is_durable: bool = False,
    heartbeat_expiry_s: float = 10.0,
    stalls: Collection[int] = (),
) -> Iterator[Cluster]:
    """Start a server and the workers; stop them at the end of the block.

    Args:
        layout: the shards of each worker.
        heartbeat_expiry_s: how long the gateway takes a silent worker for live.
        stalls: workers in which requests of `STALLING_LANE` stall now and then, when told to.
        is_durable: whether the server keeps an append-only file, as the embedded cluster's does.
    """
    num_shards = len({shard for shards in layout for shard in shards})
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as name:
        folder = Path(name)
        configuration = folder / "hedgerow.toml"
        configuration.write_text(to_toml(_PROFILES), encoding="utf-8")
        environment = {
            **os.environ,
            "HEDGEROW_CONFIG": str(configuration),
            "HEDGEROW_LOG_LEVEL": "error",
            "HEDGEROW_BENCH_NOTES": str(folder / "notes"),
            "HEDGEROW_WORKER__WORKERS_ON_HOST": str(len(layout)),
        }
        with run_server(is_durable=is_durable) as server, contextlib.ExitStack() as started:
            workers: list[subprocess.Popen[bytes]] = []
            started.callback(_stop, workers)
            for number, shards in enumerate(layout):
                command = [
                    *(sys.executable, "-m", "shard_worker.main", "--id", f"worker-{number}"),
                    *("--shards", ",".join(map(str, shards)), "--num-shards", str(num_shards)),
                    *("--data", str(folder / f"worker-{number}"), "--redis", server.url),
                ]
                workers.append(
                    subprocess.Popen(
                        command,
                        cwd=_ROOT,
                        env={
                            **environment,
                            "HEDGEROW_BENCH_STALLS": str(int(number in stalls)),
                            "HEDGEROW_BENCH_WORKER": str(number),
                        },
                    )
                )
            yield Cluster(
                *(server, workers, folder, environment),
                *(num_shards, sum(map(len, layout)) // num_shards, heartbeat_expiry_s),
            )


def _stop(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.send_signal(signal.SIGCONT)  # one may have been stopped
        worker.terminate()
    for worker in workers:
        try:
            worker.wait(20)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait(10)


@asynccontextmanager
async def connect(
    cluster: Cluster,
    admission: AdmissionSettings | None = None,
    hedging: HedgingSettings | None = None,
    probation: ProbationSettings | None = None,
    breaker: BreakerSettings | None = None,
    coverage: CoverageSettings | None = None,
) -> AsyncIterator[Gateway]:
    """A gateway in this process, once every replica is live and holds a few documents.

    Args:
        cluster: what it asks.
        admission: its settings of admission control; by default none, since a measurement of
            what a query costs must not refuse any.
        hedging: its settings of hedging; by default as they are.
        probation: its settings of probation; by default as they are.
        breaker: its settings of breakers; by default as they are.
        coverage: its settings of coverage; by default as they are.
    """
    settings = cluster.settings.model_copy(
        update={
            "admission": admission or AdmissionSettings(enabled=False),
            "hedging": hedging or HedgingSettings(),
            "probation": probation or ProbationSettings(),
            "breaker": breaker or BreakerSettings(),
            "coverage": coverage or CoverageSettings(),
        }
    )
    async with Gateway.connect(settings, cluster.num_shards) as gateway:
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        # Each of them: one that comes later finds what the others have applied gone from the log,
        # and does not serve the shard.
        while not await _is_whole(gateway, cluster.num_replicas):
            cluster.check()
            if time.monotonic() > give_up_at:
                raise TimeoutError("the workers did not get ready")
            await asyncio.sleep(0.05)
        fields = {"fields": {"title": "text"}, "rank_profile": LOOP_LANE}
        await gateway.collections.put(COLLECTION, fields)
        await gateway.documents.load(COLLECTION, _documents(), wait="applied")
        yield gateway


async def _is_whole(gateway: Gateway, num_replicas: int) -> bool:
    shards = (await gateway.status())["shards"]
    return all(len(shard["workers"]) == num_replicas for shard in shards)


async def _documents() -> AsyncIterator[bytes]:
    for number in range(_NUM_DOCUMENTS):
        line = {"id": f"document-{number}", "title": f"Title of document {number}"}
        yield json.dumps(line).encode() + b"\n"


class Asker:
    """Asks a gateway one query after another, each with a text of its own.

    Raises:
        RuntimeError: an answer does not reflect every shard that should be in it.
    """

    def __init__(
        self,
        gateway: Gateway,
        profile: str,
        deadline_ms: float = DEADLINE_MS,
        num_ok: int = 8,
        stall_s: float = 0.0,
        text: str = "a query as long as most",
    ) -> None:
        """Ask for `text` with `profile`; an answer must reflect `num_ok` shards.

        With `STALLING_LANE`, one that stalls does so for `stall_s`.
        """
        self._gateway = gateway
        self._profile = profile
        self._deadline_ms = deadline_ms
        self._num_ok = num_ok
        self._stall_s = stall_s
        self._text = text
        self._next = 0

    async def ask(self) -> None:
        """One query, for its ids and scores."""
        self._next += 1
        text = f"{self._text}, {self._next}"
        result = await self._gateway.search(
            SearchQuery(
                collection=COLLECTION,
                query=with_stall(text, self._stall_s) if self._stall_s else text,
                deadline_ms=self._deadline_ms,
                rank_profile=self._profile,
                fields=False,
            )
        )
        if result.outcomes[Outcome.OK] != self._num_ok:
            raise RuntimeError(f"{result.outcomes}")
