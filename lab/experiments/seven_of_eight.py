"""What a deadline buys: latency and coverage side by side."""

import random
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from bench.harness.cluster import search
from bench.harness.plots import BLUE, GREEN, GREY, logarithmic, tidy
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.coverage.measurement import measure_coverage
from lab.cluster import COLLECTION, SLEEP, connect, run_cluster
from lab.finding import Finding, Options, at_least, at_most, code_of, draw
from lab.script import script

NUM_SHARDS = 8
DEADLINES_MS = (50, 75, 100, 150, 200, 250, 300, 500, 800, 1200, 1600, 2000, 2500)
SHORT_MS, LONG_MS = 300, 2500
_QUICK_MS = (100, SHORT_MS, LONG_MS)
_FAST_MS, _FAST_SIGMA = 120.0, 0.25
_SLOW_MS, _SLOW_SIGMA = 1_700.0, 0.05
_NUM_QUERIES = 4


@dataclass(slots=True)
class Point:
    """The results of the queries with one deadline.

    Attributes:
        took_ms: their times.
        covered: the share of the documents that each answer reflects.
    """

    took_ms: list[float] = field(default_factory=list)
    covered: list[float] = field(default_factory=list)


async def run(options: Options) -> Finding:
    """Ask the same queries with every deadline."""
    deadlines = _QUICK_MS if options.is_quick else DEADLINES_MS
    queries = [_query(number) for number in range(1 if options.is_quick else _NUM_QUERIES)]
    points = {deadline: Point() for deadline in deadlines}
    async with run_cluster(NUM_SHARDS) as cluster, connect(cluster) as gateway:
        for shard in range(NUM_SHARDS):  # or short deadlines would open them for the other queries
            gateway.set_breaker(shard, "disabled")
        await _ask(gateway, script([1.0] * NUM_SHARDS), LONG_MS, Point())
        for query in queries:
            for deadline, point in points.items():
                await _ask(gateway, query, deadline, point)
    return _finding(points, len(queries))


def _query(seed: int) -> str:
    """Draw a query: seven shards are fast, and the last one is slow."""
    rng = random.Random(seed)
    fast = [rng.lognormvariate(0, _FAST_SIGMA) * _FAST_MS for _ in range(NUM_SHARDS - 1)]
    return script([round(one) for one in (*fast, rng.lognormvariate(0, _SLOW_SIGMA) * _SLOW_MS)])


async def _ask(gateway: Gateway, query: str, deadline_ms: float, point: Point) -> None:
    started = time.perf_counter()
    result = await search(gateway, query, SLEEP, deadline_ms, COLLECTION)
    point.took_ms.append((time.perf_counter() - started) * 1000)
    point.covered.append(result.coverage.fraction)


def _finding(points: dict[int, Point], num_queries: int) -> Finding:
    took = {deadline: statistics.median(point.took_ms) for deadline, point in points.items()}
    covered = {deadline: statistics.mean(point.covered) for deadline, point in points.items()}
    late_ms = max(max(point.took_ms) - deadline for deadline, point in points.items())
    finding = Finding(
        name="seven-of-eight",
        title="Seven of eight in 300 ms, or eight of eight in 2,000",
        claim=(
            f"One shard of eight takes about {_SLOW_MS / 1000:g} s. A caller who wants all of the "
            f"documents waits for it; a caller who sets a deadline of {SHORT_MS} ms gets seven "
            "eighths of them by then, and the answer says so."
        ),
        set_up=(
            f"Eight shards. Seven take {_FAST_MS:g} ms (lognormal, sigma {_FAST_SIGMA:g}), the "
            f"last {_SLOW_MS:,.0f} (sigma {_SLOW_SIGMA:g}). {num_queries} queries, drawn once, "
            f"asked one after another with each of {len(points)} deadlines. Breakers are disabled, "
            "since the slow shard would soon no longer be asked otherwise."
        ),
        code=[code_of(measure_coverage)],
        columns=("deadline, ms", "answered after, ms", "coverage, mean"),
        rows=[[f"{one:,}", f"{took[one]:,.0f}", f"{covered[one]:.1%}"] for one in points],
    )
    finding.checks = [
        at_least(f"coverage at {SHORT_MS} ms", covered[SHORT_MS] * 100, 80, "87.5 %", " %"),
        at_most("and not all of it", covered[SHORT_MS] * 100, 87.5, "87.5 %", " %"),
        at_least(f"coverage at {LONG_MS:,} ms", covered[LONG_MS] * 100, 99, "100 %", " %"),
        at_least(
            "the whole answer, relative to the one without the slow shard",
            took[LONG_MS] / took[SHORT_MS],
            4,
            f"{_SLOW_MS / SHORT_MS:.1f} times",
            " times",
        ),
        at_most("an answer after its deadline, at most", late_ms, 50, "0 ms", " ms"),
    ]
    finding.plots = [
        draw(
            "seven-of-eight",
            "Two curves over the deadline: the time to the answer grows with it until the last "
            "shard has answered; coverage has a plateau at seven eighths until then",
            lambda axes: _paint(axes, points, took, covered),
            columns=2,
        ),
    ]
    alike = [deadline for deadline in points if covered[deadline] == covered[SHORT_MS]]
    if len(alike) > 1:
        finding.reading = (
            f"Coverage is the same from a deadline of {alike[0]:,} ms to one of {alike[-1]:,} ms: "
            "in that range a longer deadline buys nothing but waiting. "
        )
    finding.reading += (
        "`gateway status --curve NAME` draws this curve for the queries that a gateway has "
        "answered."
    )
    return finding


def _paint(
    axes: Any, points: dict[int, Point], took: dict[int, float], covered: dict[int, float]
) -> None:
    times, shares = axes
    for deadline, point in points.items():
        times.plot([deadline] * len(point.took_ms), point.took_ms, ".", color=GREY, alpha=0.5)
    times.plot(list(points), list(points), "--", color=GREY, linewidth=1, label="the deadline")
    times.plot(list(took), list(took.values()), "o-", color=BLUE, label="median answer")
    logarithmic(times.yaxis)
    tidy(times, "deadline, ms", "answered after, ms", "latency")
    times.legend(frameon=False)
    shares.plot(list(covered), [100 * one for one in covered.values()], "o-", color=GREEN)
    shares.axhline(87.5, color=GREY, linestyle="--", linewidth=1)
    shares.text(DEADLINES_MS[0], 89, "seven of eight", color=GREY)
    shares.set_ylim(0, 105)
    tidy(shares, "deadline, ms", "documents in the answer, %", "coverage")
    for one in axes:
        logarithmic(one.xaxis)
        for deadline in (SHORT_MS, 2000):
            one.axvline(deadline, color=GREY, linestyle=":", linewidth=1)
