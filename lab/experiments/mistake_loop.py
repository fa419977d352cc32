"""CPU work on the event loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from bench.harness.cluster import LOOP_LANE, search
from bench.harness.load import Load, open_loop
from bench.harness.plots import BLUE, RED, legend, logarithmic, longer, tidy
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.shard_worker.executors.process_pool.pool import Task
from lab.cluster import COLLECTION, connect, run_cluster
from lab.compute import compute
from lab.finding import Finding, Options, at_least, at_most, code_of, draw, number
from lab.lanes import Lag, Lanes, open_lanes, watched_loop

STEPS = 2_000_000  # about 120 ms
_EVERY_S = 0.4
_RATE = 100.0
_SECONDS = 5.0
_MODES = ("on the loop", "in the process lane")


class Seen(NamedTuple):
    """The load of queries that have nothing to do with the CPU work, and the lag of a timer."""

    load: Load
    lag: Lag


async def on_the_loop(_lanes: Lanes) -> None:
    """The mistake."""
    compute(STEPS)


async def in_the_process_lane(lanes: Lanes) -> None:
    """The cure."""
    await lanes.process.run(Task(f"cpu {STEPS}".encode()))


async def run(options: Options) -> Finding:
    """Ask a cluster through a gateway whose process also computes at regular intervals."""
    seconds = 1.0 if options.is_quick else _SECONDS
    cpu_ms = min(_cpu_ms() for _ in range(3))
    seen = {}
    async with run_cluster() as cluster, connect(cluster) as gateway, open_lanes(1) as lanes:

        async def ask() -> None:
            await search(gateway, "", LOOP_LANE, collection=COLLECTION)

        await open_loop(ask, _RATE, 0.5)
        for mode, work in zip(_MODES, (on_the_loop, in_the_process_lane), strict=True):
            with watched_loop() as lag:
                offender = asyncio.create_task(_offend(work, lanes))
                seen[mode] = Seen(await open_loop(ask, _RATE, seconds), lag)
                offender.cancel()
    return _finding(seen, seconds, cpu_ms)


def _cpu_ms() -> float:
    """The CPU time of the work, which is how long it takes on an idle machine."""
    before = time.thread_time()
    compute(STEPS)
    return (time.thread_time() - before) * 1000


async def _offend(work: Callable[[Lanes], Awaitable[None]], lanes: Lanes) -> None:
    while True:
        await asyncio.sleep(_EVERY_S)
        await work(lanes)


def _finding(seen: dict[str, Seen], seconds: float, cpu_ms: float) -> Finding:
    bad, good = (seen[mode] for mode in _MODES)
    p99 = {mode: one.load.quantile_ms(0.99) for mode, one in seen.items()}
    finding = Finding(
        name="mistake-loop",
        title="Mistake 1: CPU work on the loop",
        claim=(
            "CPU work on the event loop is paid for by queries that have nothing to do with it: "
            "they all wait until it is over."
        ),
        set_up=(
            f"A cluster of eight shards, and {_RATE:g} `noop` queries a second (Poisson, "
            f"{seconds:g} s) by a gateway in a process that also computes {STEPS:,} steps every "
            f"{_EVERY_S * 1000:g} ms: on the loop, then in the process lane. Times are measured "
            "from when a query was due."
        ),
        code=[code_of(on_the_loop), code_of(in_the_process_lane)],
        columns=("", "queries", "p50, ms", "p99, ms", "loop lag p99, ms", "worst, ms"),
        rows=[
            [
                mode,
                str(len(one.load.latencies_s)),
                number(one.load.quantile_ms(0.5)),
                number(p99[mode]),
                number(one.lag.quantile_ms(0.99)),
                number(one.lag.max_ms),
            ]
            for mode, one in seen.items()
        ],
        checks=[
            at_least(
                "p99 of the other queries: on the loop, relative to in a process",
                p99[_MODES[0]] / p99[_MODES[1]],
                4,
                "over 20 times",
                " times",
            ),
            at_least(
                "worst loop lag: on the loop",
                bad.lag.max_ms,
                cpu_ms / 2,
                f"{cpu_ms:.0f} ms, the CPU that the work takes",
                " ms",
            ),
            at_most(
                "loop lag: p99 in a process, relative to the worst on the loop",
                good.lag.quantile_ms(0.99) / bad.lag.max_ms,
                0.25,
                "0.01 times",
                " times",
            ),
        ],
        plots=[
            draw(
                "mistake-loop",
                "Share of the other queries that took longer, over the time, both logarithmic: "
                "with the work on the loop a shoulder as long as that takes",
                lambda axes: _paint(axes, seen),
            ),
        ],
    )
    finding.reading = (
        "Gateways and workers log a loop that lags by more than `worker.loop_lag_threshold_ms` "
        f"({WorkerSettings().loop_lag_threshold_ms:g} ms), and count it in the status."
    )
    return finding


def _paint(axes: Any, seen: dict[str, Seen]) -> None:
    for (mode, one), color in zip(seen.items(), (RED, BLUE), strict=True):
        longer(axes, [took_s * 1000 for took_s in one.load.latencies_s], mode, color)
    logarithmic(axes.xaxis)
    logarithmic(axes.yaxis, lambda share, _: f"{100 * share:g} %")
    tidy(axes, "time to the answer, ms", "queries that took longer")
    legend([axes])
