"""Fan-out without a timeout."""

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Any

from bench.harness.cluster import search
from bench.harness.load import quantile
from bench.harness.plots import BLUE, RED, legend, logarithmic, tidy
from hedgerow.gateway.gateway import Gateway
from lab.cluster import COLLECTION, SLEEP, connect, run_cluster
from lab.finding import Finding, Options, at_least, at_most, code_of, draw, number
from lab.script import script

NUM_SHARDS = 8
DEADLINE_MS, FOREVER_MS = 150.0, 30_000.0
_USUAL_MS, _SLOW_MS = 10, 1_000
_SLOW_SHARE = 0.1
_SLOW_SHARD = 5
_NUM_QUERIES = 120
_CALLERS = 2
_MODES = {"no timeout": FOREVER_MS, f"deadline of {DEADLINE_MS:g} ms": DEADLINE_MS}


async def run(options: Options) -> Finding:
    """Ask the same queries with a deadline and with one that is never reached."""
    num_queries = 20 if options.is_quick else _NUM_QUERIES
    took_ms: dict[str, list[float]] = {mode: [] for mode in _MODES}
    covered: dict[str, list[float]] = {mode: [] for mode in _MODES}
    async with run_cluster(NUM_SHARDS) as cluster, connect(cluster) as gateway:
        gateway.set_breaker(_SLOW_SHARD, "disabled")  # only the timeout is of interest here
        await _ask(gateway, script([1] * NUM_SHARDS), FOREVER_MS)
        for mode, deadline_ms in _MODES.items():
            queries = iter(_queries(num_queries))  # shared by all callers
            callers = (_keep_asking(gateway, queries, deadline_ms) for _ in range(_CALLERS))
            for answers in await asyncio.gather(*callers):
                took_ms[mode] += [took for took, _ in answers]
                covered[mode] += [fraction for _, fraction in answers]
    return _finding(took_ms, covered)


async def _keep_asking(
    gateway: Gateway, queries: Iterator[str], deadline_ms: float
) -> list[tuple[float, float]]:
    """Ask in turn; returns the time of each answer, in ms, and its coverage."""
    answers = []
    for query in queries:
        started = time.perf_counter()
        fraction = await _ask(gateway, query, deadline_ms)
        answers.append(((time.perf_counter() - started) * 1000, fraction))
    return answers


def _queries(count: int) -> list[str]:
    """Make queries, a tenth of which meet a slow shard."""
    slow = set(random.Random(2).sample(range(count), round(_SLOW_SHARE * count)))
    return [
        script(
            [
                _SLOW_MS if shard == _SLOW_SHARD and number_ in slow else _USUAL_MS
                for shard in range(NUM_SHARDS)
            ]
        )
        for number_ in range(count)
    ]


async def _ask(gateway: Gateway, query: str, deadline_ms: float) -> float:
    result = await search(gateway, query, SLEEP, deadline_ms, COLLECTION)
    return result.coverage.fraction


def _finding(took_ms: dict[str, list[float]], covered: dict[str, list[float]]) -> Finding:
    without, with_deadline = took_ms.values()
    coverage = {mode: 100 * sum(one) / len(one) for mode, one in covered.items()}
    figures = {
        mode: (quantile(times, 0.5), quantile(times, 0.99), coverage[mode])
        for mode, times in took_ms.items()
    }
    return Finding(
        name="mistake-no-timeout",
        title="Mistake 4: fan-out without a timeout",
        claim=(
            f"One shard of {NUM_SHARDS} that is slow in one query of ten sets the 99th percentile "
            "of all of them. With a deadline it costs its own share of the documents, in those "
            "queries alone."
        ),
        set_up=(
            f"{len(without)} queries over {NUM_SHARDS} shards of {_USUAL_MS} ms, by {_CALLERS} "
            f"callers; in {_SLOW_SHARE:.0%} of them one shard takes {_SLOW_MS:,} ms. The same "
            f"queries with a deadline of {FOREVER_MS / 1000:g} s, which amounts to none, and of "
            f"{DEADLINE_MS:g} ms. The shard's breaker is disabled."
        ),
        code=[code_of(_ask)],
        columns=("", "p50, ms", "p99, ms", "coverage, mean, %"),
        rows=[[mode, *map(number, row)] for mode, row in figures.items()],
        checks=[
            at_least("p99 without a timeout", quantile(without, 0.99), _SLOW_MS, "1,000 ms", " ms"),
            at_most(
                "p99 with a deadline",
                quantile(with_deadline, 0.99),
                DEADLINE_MS + 50,
                f"{DEADLINE_MS:g} ms",
                " ms",
            ),
            at_least(
                "p99: without, relative to with",
                quantile(without, 0.99) / quantile(with_deadline, 0.99),
                4,
                f"{_SLOW_MS / DEADLINE_MS:.1f} times",
                " times",
            ),
            at_least(
                "coverage with a deadline, mean",
                list(coverage.values())[1],
                97,
                f"{100 - 100 * _SLOW_SHARE / NUM_SHARDS:.2f} %",
                " %",
            ),
        ],
        plots=[
            draw(
                "mistake-no-timeout",
                "Share of queries that took longer, over the time: without "
                "a timeout a step at a second, with one at the deadline",
                lambda axes: _paint(axes, took_ms),
                height_in=3.0,
            ),
        ],
    )


def _paint(axes: Any, took_ms: dict[str, list[float]]) -> None:
    for (mode, times), color in zip(took_ms.items(), (RED, BLUE), strict=True):
        shares = [100 * (1 - at / len(times)) for at in range(len(times))]
        axes.step([*sorted(times), max(times)], [*shares, 0], where="post", color=color, label=mode)
    logarithmic(axes.xaxis)
    tidy(axes, "time to the answer, ms", "queries that took longer, %")
    legend([axes])
