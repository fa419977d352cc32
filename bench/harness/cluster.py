"""A cluster of real worker processes, and a gateway in this process that asks it."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.harness.processes import descendants, start_tied
from bench.harness.profiles import to_toml
from bench.harness.redis_cluster import RedisCluster
from bench.harness.second_phases import with_stall
from bench.harness.server import Server, run_server
from hedgerow.common.errors import InsufficientCoverageError
from hedgerow.common.outcome import Outcome
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchQuery, SearchResult

PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7))  # eight shards on four workers
COLLECTION = "bench"
LOOP_LANE = "noop"
PROCESS_LANE = "noop_process"
STALLING_LANE = "stalling"  # stalls occasionally where the environment says so
BUSY_LANE = "busy"  # computes for a set time
HELD_LANE = "held"  # holds a scorer for a set time
WATCHING_LANE = "watching"  # computes until its budget has expired, and notes when
DRAWN_LANE = "drawn"  # holds it for the time that a simulator's script gives
DEADLINE_MS = 2_000.0  # long enough that no query of a throughput measurement ends early
_NUM_DOCUMENTS = 400
_START_TIMEOUT_S = 180.0  # of sixteen workers on a busy machine
_PATIENCE_S = 15.0  # with workers that are to end
_ROOT = Path(__file__).parents[2]
_SECOND_PHASES = {
    **{
        name: f"bench.harness.second_phases:{name}"
        for name in (STALLING_LANE, BUSY_LANE, HELD_LANE, WATCHING_LANE)
    },
    DRAWN_LANE: "bench.costs.drawn:score",
}
PROFILES = {
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
        profiles: rank profiles beside the built-in ones.
        num_shards: shards of the cluster.
        num_replicas: on how many workers each of them is.
        nodes: the Redis Cluster that carries queries; None for `server`.
    """

    server: Server
    workers: list[subprocess.Popen[bytes]]
    folder: Path
    environment: dict[str, str]
    profiles: Mapping[str, RankProfile]
    num_shards: int
    num_replicas: int
    heartbeat_expiry_s: float
    nodes: RedisCluster | None = None

    @property
    def notes(self) -> Path:
        """The file that second phases of `WATCHING_LANE` write; see `second_phases.watching`."""
        return Path(self.environment["HEDGEROW_BENCH_NOTES"])

    @property
    def settings(self) -> Settings:
        """Settings of a gateway to it."""
        return Settings(
            redis=RedisSettings(url=self.server.url)
            if self.nodes is None
            else self.nodes.settings(),
            gateway=GatewaySettings(write_timeout_s=600.0),
            worker=WorkerSettings(heartbeat_expiry_s=self.heartbeat_expiry_s),
            rank_profiles=dict(self.profiles),
        )

    def check(self) -> None:
        """Be sure that no worker has ended, since none is started again.

        Raises:
            RuntimeError: a worker has ended; names it.
        """
        for number, worker in enumerate(self.workers):
            if (status := worker.poll()) is not None:
                raise RuntimeError(f"worker-{number} has ended with status {status}")

    def parts(self) -> dict[str, list[int]]:
        """The processes of each part whose CPU time is counted, without the gateway."""
        workers = [worker.pid for worker in self.workers]
        nodes = [] if self.nodes is None else self.nodes.pids
        return {
            "Redis": [self.server.pid, *nodes],
            "workers": workers,
            "scorers": [pid for worker in workers for pid in descendants(worker)],
        }


@contextlib.contextmanager
def run_cluster(
    layout: Sequence[Sequence[int]] = PAIRS,
    *,
    profiles: Mapping[str, RankProfile] = PROFILES,
    environment: Callable[[Path], Mapping[str, str]] = lambda _: {},
    is_durable: bool = False,
    heartbeat_expiry_s: float = 10.0,
    stalls: Collection[int] = (),
    nodes: RedisCluster | None = None,
) -> Iterator[Cluster]:
    """Start a server and the workers; stop them at the end of the block.

    Args:
        layout: the shards of each worker.
        profiles: rank profiles of workers and gateways, beside the built-in ones.
        environment: makes variables of the workers, given the cluster's folder.
        is_durable: whether the server keeps an append-only file, as the embedded cluster's does.
        heartbeat_expiry_s: how long a silent worker counts as live.
        stalls: workers in which requests of `STALLING_LANE` may stall.
        nodes: the Redis Cluster that carries queries; None for the server that is started.
    """
    num_shards = len({shard for shards in layout for shard in shards})
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as name:
        folder = Path(name)
        configuration = folder / "hedgerow.toml"
        configuration.write_text(to_toml(profiles), encoding="utf-8")
        variables = {
            **os.environ,
            "HEDGEROW_CONFIG": str(configuration),
            "HEDGEROW_LOG_LEVEL": "error",
            "HEDGEROW_BENCH_NOTES": str(folder / "notes"),
            "HEDGEROW_WORKER__WORKERS_ON_HOST": str(len(layout)),
            **environment(folder),
            **({} if nodes is None else nodes.environment),
        }
        with run_server(is_durable=is_durable) as server, contextlib.ExitStack() as started:
            workers: list[subprocess.Popen[bytes]] = []
            started.callback(stop_workers, workers)
            own = [
                {
                    "HEDGEROW_BENCH_STALLS": str(int(number in stalls)),
                    "HEDGEROW_BENCH_WORKER": str(number),
                }
                for number in range(len(layout))
            ]
            url = server.url if nodes is None else nodes.settings().url
            start_workers(layout, folder, url, num_shards, variables, own, workers)
            yield Cluster(
                server=server,
                workers=workers,
                folder=folder,
                environment=variables,
                profiles=profiles,
                num_shards=num_shards,
                num_replicas=sum(map(len, layout)) // num_shards,
                heartbeat_expiry_s=heartbeat_expiry_s,
                nodes=nodes,
            )


def start_workers(
    layout: Sequence[Sequence[int]],
    folder: Path,
    redis_url: str,
    num_shards: int,
    environment: Mapping[str, str],
    own: Sequence[Mapping[str, str]] = (),
    workers: list[subprocess.Popen[bytes]] | None = None,
) -> list[subprocess.Popen[bytes]]:
    """Start a worker for each list of shards.

    Args:
        layout: the shards of each worker.
        folder: has their data folders.
        redis_url: the server.
        num_shards: shards of the cluster.
        environment: of all workers.
        own: further variables of each.
        workers: the list to which each is added as soon as it is started; None for a new one.
    """
    workers = [] if workers is None else workers
    for number, shards in enumerate(layout):
        command = [
            sys.executable,
            "-m",
            "hedgerow.shard_worker.main",
            "--id",
            f"worker-{number}",
            "--shards",
            ",".join(map(str, shards)),
            "--num-shards",
            str(num_shards),
            "--data",
            str(folder / f"worker-{number}"),
            "--redis",
            redis_url,
        ]
        variables = {**environment, **(own[number] if own else {})}
        workers.append(start_tied(command, cwd=_ROOT, env=variables))
    return workers


def stop_workers(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """End workers by SIGTERM, and by SIGKILL those that do not end in time."""
    for worker in workers:
        worker.send_signal(signal.SIGCONT)  # one may have been stopped
        worker.terminate()
    # Together: where the server has gone first, each of them waits for it as long as it may.
    give_up_at = time.monotonic() + _PATIENCE_S
    for worker in workers:
        try:
            worker.wait(max(0.0, give_up_at - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait(10)


@asynccontextmanager
async def open_gateway(cluster: Cluster, **groups: BaseModel) -> AsyncIterator[Gateway]:
    """A gateway in this process, once every replica is live.

    Args:
        cluster: what it asks.
        groups: of its settings, by name; by default admission control refuses nothing, since a
            measurement of what a query costs must not refuse any; all others have their defaults.
    """
    chosen = {"admission": AdmissionSettings(enabled=False), **groups}
    settings = cluster.settings.model_copy(update=chosen)
    async with Gateway.connect(settings, cluster.num_shards) as gateway:
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        # A replica that came later would find entries that the others have applied gone from the
        # log, and would not serve the shard.
        while not await _is_whole(gateway, cluster.num_replicas):
            cluster.check()
            if time.monotonic() > give_up_at:
                raise TimeoutError("the workers did not get ready")
            await asyncio.sleep(0.05)
        yield gateway


async def _is_whole(gateway: Gateway, num_replicas: int) -> bool:
    shards = (await gateway.status())["shards"]
    return all(len(shard["workers"]) == num_replicas for shard in shards)


async def fill(gateway: Gateway, name: str, ids: Iterable[str]) -> None:
    """Load a document with a title for each id into a collection with the profile `noop`.

    Returns once all of them can be found.
    """
    await gateway.collections.put(name, {"fields": {"title": "text"}, "rank_profile": LOOP_LANE})
    lines = (json.dumps({"id": one, "title": f"Title of {one}"}).encode() for one in ids)
    await gateway.documents.load(name, _each(lines), wait="applied")


async def _each(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line + b"\n"


def even_ids(num_shards: int, of_each: int) -> list[str]:
    """Ids that fall evenly on the shards, so that coverage of documents is coverage of shards."""
    missing = dict.fromkeys(range(num_shards), of_each)
    ids = []
    for number in itertools.count():
        document_id = f"document-{number}"
        if missing[shard := shard_of(document_id, num_shards)]:
            missing[shard] -= 1
            ids.append(document_id)
            if not any(missing.values()):
                break
    return ids


@asynccontextmanager
async def connect(cluster: Cluster, **groups: BaseModel) -> AsyncIterator[Gateway]:
    """Like `open_gateway`, with a few documents in the cluster."""
    async with open_gateway(cluster, **groups) as gateway:
        await fill(gateway, COLLECTION, [f"document-{number}" for number in range(_NUM_DOCUMENTS)])
        yield gateway


async def search(
    gateway: Gateway,
    text: str,
    profile: str,
    deadline_ms: float = DEADLINE_MS,
    collection: str = COLLECTION,
    **more: Any,
) -> SearchResult:
    """Ask for ids and scores only; an answer that lacks too many documents is returned as well.

    Raises:
        OverloadedError: it was refused.
    """
    query = SearchQuery(
        collection, text, rank_profile=profile, deadline_ms=deadline_ms, fields=False, **more
    )
    try:
        return await gateway.search(query)
    except InsufficientCoverageError as error:
        result: SearchResult = error.result
        return result


class Asker:
    """Asks a gateway one query after another, each with a different text.

    Raises:
        RuntimeError: an answer does not reflect as many shards as it should.
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

        With `STALLING_LANE`, a request that stalls does so for `stall_s`.
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
        if self._stall_s:
            text = with_stall(text, self._stall_s)
        result = await search(self._gateway, text, self._profile, self._deadline_ms)
        if result.outcomes[Outcome.OK] != self._num_ok:
            raise RuntimeError(f"{result.outcomes}")
