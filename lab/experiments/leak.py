"""A second phase that leaks memory with every query: where it grows, and what pays for it."""

import asyncio
import os
import signal
import time
from typing import Any, NamedTuple

from bench.harness.cluster import search
from bench.harness.plots import BLUE, RED, legend, tidy
from bench.harness.processes import descendants, first_to_go, resident_mib
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchResult
from hedgerow.shard_worker.executors.process_pool.scorer_process import (
    _volunteer_for_the_oom_killer,
)
from lab.cluster import COLLECTION, LEAK, SLEEP, LabCluster, connect, run_cluster, workers_now
from lab.finding import Finding, Options, at_least, at_most, code_of, draw, exactly
from lab.script import script
from lab.work import LEAK_BYTES, leak

NUM_SHARDS, NUM_SCORERS = 2, 2
_NUM_QUERIES, _QUICK = 200, 40
_LOOK_EVERY = 10
_NAP_MS = 200.0
_DEADLINE_MS = 5_000.0
_REPLACED_S = 20.0


class Look(NamedTuple):
    """Resident memory of the scorers and of all other processes after some queries, in MiB."""

    num_queries: int
    scorers_mib: float
    others_mib: float


class Seen(NamedTuple):
    """The observations.

    Attributes:
        num_replaced: scorers that were replaced while they leaked.
        is_scorer_first: whether the kernel would have killed a scorer before all others.
        result: of the query during which a scorer was killed.
        looks: samples; the last one was taken after that.
    """

    looks: list[Look]
    num_replaced: int
    is_scorer_first: bool
    result: SearchResult


async def run(options: Options) -> Finding:
    """Ask until much memory has leaked; then kill the largest scorer, as the kernel would."""
    num_queries = _QUICK if options.is_quick else _NUM_QUERIES
    async with (
        # Without a spare scorer, which would have its own share of the memory.
        run_cluster(
            NUM_SHARDS,
            num_workers=1,
            scorers=NUM_SCORERS,
            environment={"HEDGEROW_WORKER__SPARE_SCORERS": "0"},
        ) as cluster,
        connect(cluster) as gateway,
    ):
        looks = await _leak(gateway, num_queries)
        scorers = await _scorers(gateway)
        first = first_to_go([os.getpid(), *descendants(os.getpid())])
        result = await _take_one(cluster, gateway)
        after = await _whole(gateway)
        looks.append(_look(num_queries, after["pids"]))
    return _finding(Seen(looks, scorers["restarts"], first in scorers["pids"], result))


async def _leak(gateway: Gateway, num_queries: int) -> list[Look]:
    await _ask(gateway, SLEEP, 1.0)  # opens the stores
    pids = (await _scorers(gateway))["pids"]
    looks = [_look(0, pids)]
    for number in range(1, num_queries + 1):
        await _ask(gateway, LEAK, 0.0)
        if number % _LOOK_EVERY == 0:
            looks.append(_look(number, pids))
    return looks


async def _take_one(cluster: LabCluster, gateway: Gateway) -> SearchResult:
    """Kill the largest of the busy scorers; returns the answer of their query."""
    since = time.monotonic()
    asked = asyncio.create_task(_ask(gateway, SLEEP, _NAP_MS))
    await asyncio.sleep(_NAP_MS / 2000)
    at_work = [stint.pid for stint in cluster.stints(since)]
    os.kill(max(at_work, key=lambda pid: resident_mib([pid])), signal.SIGKILL)
    return await asked


async def _ask(gateway: Gateway, profile: str, ms: float) -> SearchResult:
    query = script([ms] * NUM_SHARDS)
    return await search(gateway, query, profile, _DEADLINE_MS, COLLECTION)


async def _scorers(gateway: Gateway) -> dict[str, Any]:
    """What the worker now reports about its scorers."""
    (worker,) = await workers_now(gateway)
    lane: dict[str, Any] = worker["lanes"]["process"]
    return lane


async def _whole(gateway: Gateway) -> dict[str, Any]:
    """The same, once all scorers are alive again."""
    async with asyncio.timeout(_REPLACED_S):
        while (lane := await _scorers(gateway))["alive"] < lane["capacity"]:
            pass
    return lane


def _look(num_queries: int, scorers: list[int]) -> Look:
    others = {os.getpid(), *descendants(os.getpid())} - set(scorers)
    return Look(num_queries, resident_mib(scorers), resident_mib(others))


def _finding(seen: Seen) -> Finding:
    before, full, after = seen.looks[0], seen.looks[-2], seen.looks[-1]
    kept_mib = full.num_queries * NUM_SHARDS * LEAK_BYTES / 2**20
    others_mib = full.others_mib - before.others_mib
    finding = Finding(
        name="leak",
        title="A second phase that leaks",
        claim=(
            "Memory that a second phase keeps stays in its scorers: neither the worker nor the "
            "gateway grows. When memory runs out, the kernel kills a scorer first; then the memory "
            "is free again, and even the query that the scorer was working on is answered in full."
        ),
        set_up=(
            f"One worker with {NUM_SHARDS} shards and {NUM_SCORERS} scorers; {full.num_queries} "
            "queries, one after another, for each of which every shard keeps "
            f"{LEAK_BYTES // 2**20} MiB for ever. Memory is resident memory, of the scorers and of "
            "all other processes (worker, launcher, Redis, the gateway). Memory does not really "
            "run out: the kernel is asked which of the processes it would kill (`oom_score`), and "
            "the largest scorer is killed as the kernel would do it, with SIGKILL, in the middle "
            f"of a query of {_NAP_MS:g} ms."
        ),
        code=[code_of(leak), code_of(_volunteer_for_the_oom_killer)],
        columns=("", "scorers, MiB", "all others, MiB"),
        rows=[
            _row("before", before),
            _row(f"after {full.num_queries} queries", full),
            _row("after one was killed", after),
        ],
        checks=[
            at_least(
                "the scorers' growth, relative to what was kept",
                (full.scorers_mib - before.scorers_mib) / kept_mib,
                0.9,
                "1 times",
                " times",
            ),
            at_most("all others' growth", others_mib, 20, "0 MiB", " MiB"),
            exactly("scorers that Hedgerow replaced because they grew", seen.num_replaced, 0),
            exactly(
                "what the kernel would kill first",
                "a scorer" if seen.is_scorer_first else "something else",
                "a scorer",
            ),
            exactly(
                "shards in the answer during which one was killed",
                seen.result.outcomes[Outcome.OK],
                NUM_SHARDS,
            ),
            at_most(
                "time of that answer, relative to the usual",
                seen.result.took_ms / _NAP_MS,
                4,
                "2.5 times: half an attempt, the second attempt, then the other shard's",
                " times",
            ),
            at_most(
                "the scorers' memory afterwards, relative to before",
                after.scorers_mib / full.scorers_mib,
                0.8,
                "0.5 times",
                " times",
            ),
        ],
        plots=[
            draw(
                "leak",
                "Memory over queries: the scorers' memory climbs, and falls when one is killed; "
                "that of all other processes stays where it is",
                lambda axes: _paint(axes, seen.looks),
                height_in=3.0,
            ),
        ],
    )
    finding.reading = (
        "No scorer is replaced here for having grown: `worker.scorer_max_memory_mb`, which does "
        "that, is 0 unless it is set, so it is left to the kernel or to a limit of the container."
    )
    return finding


def _row(name: str, look: Look) -> list[str]:
    return [name, f"{look.scorers_mib:,.0f}", f"{look.others_mib:,.0f}"]


def _paint(axes: Any, looks: list[Look]) -> None:
    counts, scorers, others = zip(*looks, strict=True)
    axes.plot(counts, scorers, color=RED, label="scorers")
    axes.plot(counts, others, color=BLUE, label="all other processes")
    axes.set_ylim(bottom=0)
    tidy(axes, "queries", "resident memory, MiB")
    legend([axes])
