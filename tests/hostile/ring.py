"""Runs an attack beside a normal client, and judges its effect on others."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from tests.hostile.attack import Attack
from tests.hostile.cluster import (
    COLLECTION,
    Cluster,
    ClusterError,
    Ground,
    running_cluster,
)
from tests.hostile.normal_client import NormalClient
from tests.hostile.processes import memory_mb, parts_of
from tests.hostile.target import Target
from tests.hostile.verdict import Bounds, Memory, Observation, Verdict, judge
from tests.support.processes import is_alive

_WARM_UP_SEARCHES = 10
_WARM_LOADS = 5
_SEARCHES_AFTER = 20  # a second of the client's
_SEARCHES_S = 10.0
_SETTLE_S = 8.0
_SAMPLE_S = 0.2
_FULL_TIME = 10  # times as long as in the ring, for an attack at full strength

BOUNDS = Bounds()


class Grounds:
    """The cluster of the attacks, started again when one has hurt it or needs another ground."""

    def __init__(self) -> None:
        """None runs yet."""
        self._opened = contextlib.ExitStack()
        self._cluster: Cluster | None = None

    def cluster(self, ground: Ground) -> Cluster:
        """A cluster that is new, or that no attack has harmed.

        Raises:
            ClusterError: it does not start.
        """
        if self._cluster is None or self._cluster.ground != ground:
            self.close()
            self._cluster = self._opened.enter_context(running_cluster(ground))
            asyncio.run(_warm_up(self._cluster))
        return self._cluster

    def close(self) -> None:
        """End the cluster."""
        self._cluster = None
        self._opened.close()

    def run(self, attack: Attack, seed: int, *, is_full: bool = False) -> Verdict:
        """Run an attack; a cluster that it has harmed is not used again."""
        try:
            cluster = self.cluster(attack.ground)
        except ClusterError as error:
            self.close()
            return _without_figures(attack, str(error))
        verdict = asyncio.run(run_attack(cluster, attack, seed, is_full=is_full))
        if not verdict.holds:
            self.close()
        return verdict


async def _warm_up(cluster: Cluster) -> None:
    """Search and load until caches and allocators are as large as ordinary work makes them."""
    target = Target(cluster, Random(0), is_full=False, folder=Path())
    lines = [b'{"id":"d%d","title":"a word or two","n":%d}\n' % (n, n) for n in range(100)]

    async def load(name: str) -> None:
        for _ in range(_WARM_LOADS):
            await target.load(name, lines)

    async with NormalClient(cluster.url, COLLECTION):
        for _ in range(2):
            async with target.own_collection("warm", {"title": "text"}) as name:
                await asyncio.gather(*(load(name) for _ in range(4)))


def _without_figures(attack: Attack, failure: str) -> Verdict:
    """The verdict where there was no cluster to attack."""
    return Verdict(attack.name, 0, 0.0, 0.0, 0.0, 0.0, failures=(failure,))


async def run_attack(cluster: Cluster, attack: Attack, seed: int, *, is_full: bool) -> Verdict:
    """Run an attack; returns its effect on others."""
    try:
        before = State.of(cluster)
    except ClusterError as error:
        return _without_figures(attack, str(error))
    watch = MemoryWatch(cluster)
    client = NormalClient(cluster.url, COLLECTION)
    with TemporaryDirectory(prefix="hedgerow-hostile-") as folder:
        target = Target(cluster, Random(f"{seed}:{attack.name}"), is_full, Path(folder))
        async with client:
            await client.searched(_WARM_UP_SEARCHES, 0.0, _SEARCHES_S)
            began_at = time.monotonic()
            async with watch.running():
                complaints = await _attack(attack, target)
                await _linger(client, began_at, attack.min_searches)
    samples = [sample for started_at, sample in client.samples if started_at >= began_at]
    after, trouble = await _state_after(cluster)
    await watch.settle(BOUNDS.growth, BOUNDS.growth_floor_mb)
    seen = Observation(
        samples=samples,
        memory=watch.found(),
        breakers=after.breakers_since(before, time.monotonic() - began_at) if after else (),
        restarted=[*trouble, *_restarted(cluster, attack, before, after)],
        loop_lag_ms=after.lag_since(before) if after else 0.0,
        complaints=complaints,
    )
    return judge(attack.name, seen, BOUNDS)


async def _attack(attack: Attack, target: Target) -> list[str]:
    max_s = attack.max_s * (_FULL_TIME if target.is_full else 1)
    try:
        async with asyncio.timeout(max_s):
            return list(await attack.run(target))
    except TimeoutError:
        return [f"the attack has not ended within {max_s:g} s"]
    except (OSError, ClusterError) as error:  # the cluster is gone, or takes no connections
        return [f"the attack could not go on: {type(error).__name__}: {error}"]


async def _linger(client: NormalClient, began_at: float, min_searches: int) -> None:
    """Let the client go on, so that after-effects of the attack show in its searches too."""
    await client.searched(_SEARCHES_AFTER, time.monotonic(), _SEARCHES_S)
    await client.searched(min_searches, began_at, _SEARCHES_S)


@dataclass(frozen=True, slots=True)
class State:
    """What the status says about a cluster."""

    pids: dict[str, int]
    gateway_id: str
    lag_ms: float
    shards: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, cluster: Cluster) -> "State":
        """Ask for it.

        Raises:
            ClusterError: there is no answer.
        """
        status = cluster.status()
        pids = {"redis": status["redis"]["pid"]}
        for worker in status["workers"]:
            name = worker["id"]
            pids[name] = worker["pid"]
            for lane in ("process", "indexer"):
                for number, pid in enumerate(worker["lanes"][lane]["pids"]):
                    pids[f"{name}'s {lane} {number}"] = pid
        gateway = status["gateway"]
        return cls(pids, gateway["id"], gateway["loop"]["max_lag_ms"], status["shards"])

    def breakers_since(self, before: "State", elapsed_s: float) -> list[str]:
        """Each shard's breaker: its state, or that it has opened in the time."""
        states = []
        for shard in self.shards:
            opened = [
                f"opened ({change['reason']})"
                for change in shard["breaker_detail"]["transitions"]
                if change["after"] != "closed" and change["ago_s"] < elapsed_s
            ]
            states.append(opened[0] if opened else shard["breaker"])
        return states

    def lag_since(self, before: "State") -> float:
        """The worst lag of the gateway's loop, if it was newly measured."""
        is_new = self.gateway_id != before.gateway_id or self.lag_ms > before.lag_ms
        return self.lag_ms if is_new else 0.0


async def _state_after(cluster: Cluster) -> tuple[State | None, list[str]]:
    """The state, and what prevents a better one."""
    try:
        return await asyncio.to_thread(State.of, cluster), []
    except ClusterError as error:
        return None, [str(error)]


def _restarted(
    cluster: Cluster, attack: Attack, before: State, after: State | None
) -> Iterator[str]:
    for name, pid in cluster.pids.items():
        if not is_alive(pid):
            yield name
    if after is not None:
        for name, pid in before.pids.items():
            is_excused = attack.may_replace_scorers and "'s process" in name
            if after.pids.get(name) != pid and name not in cluster.pids and not is_excused:
                yield name


class MemoryWatch:
    """Samples the memory of each part of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        """Measure for the first time."""
        self._pids = cluster.pids
        self._before = self._measure()
        self._peak = dict(self._before)
        self._after = dict(self._before)

    def _measure(self) -> dict[str, float]:
        return {name: memory_mb(pids) for name, pids in parts_of(self._pids).items()}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sample during the block."""
        task = asyncio.create_task(self._sample(), name="memory")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _sample(self) -> None:
        while True:
            for name, mb in (await asyncio.to_thread(self._measure)).items():
                self._peak[name] = max(self._peak[name], mb)
            await asyncio.sleep(_SAMPLE_S)

    async def settle(self, growth: float, floor_mb: float) -> None:
        """Wait until memory is back, or for some seconds."""
        gives_up_at = time.monotonic() + _SETTLE_S
        while True:
            self._after = await asyncio.to_thread(self._measure)
            is_back = all(
                mb <= self._before[name] + max(self._before[name] * growth, floor_mb)
                for name, mb in self._after.items()
            )
            if is_back or time.monotonic() > gives_up_at:
                return
            await asyncio.sleep(0.5)

    def found(self) -> dict[str, Memory]:
        """The memory of each part."""
        return {
            name: Memory(self._before[name], self._peak[name], self._after[name])
            for name in self._before
        }
