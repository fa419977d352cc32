"""What a breaker costs: a refusal by itself, and an open breaker's shard in a query."""

import gc
import os
import timeit

from bench.harness.cluster import LOOP_LANE, Asker, connect, run_cluster
from bench.harness.load import closed_loop
from bench.harness.options import Options
from bench.harness.processes import CpuMeter
from bench.harness.report import Section, median, target
from bench.harness.rounds import turns
from hedgerow.common.lifecycle import calm_collector
from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.gateway.policies.breaker import Breaker

_TARGET_US = 20.0
_SEVEN = ((0, 1), (2, 3), (4, 5), (6,))
_EIGHT = (*_SEVEN, (7,))


async def measure(options: Options) -> Section:
    """Compare eight shards, one of them behind an open breaker, with seven shards."""
    cpu_us: dict[int, list[float]] = {7: [], 8: []}
    alone_us: dict[int, list[float]] = {7: [], 8: []}
    with run_cluster(_SEVEN) as seven, run_cluster(_EIGHT) as eight:
        async with connect(seven) as without, connect(eight) as behind:
            behind.set_breaker(7, "forced_open")
            calm_collector()
            asks = {7: Asker(without, LOOP_LANE, num_ok=7), 8: Asker(behind, LOOP_LANE, num_ok=7)}
            for asker in asks.values():
                await closed_loop(asker.ask, 32, 0.5)
            for _, (num_shards, asker) in turns(asks.items(), options.num_rounds):
                load = await closed_loop(asker.ask, 1, options.seconds)
                alone_us[num_shards].append(load.quantile_ms(0.5) * 1000)
                gc.collect()
                meter = CpuMeter({"gateway": [os.getpid()]})
                load = await closed_loop(asker.ask, 32, options.seconds)
                used_s = meter.used_s()["gateway"]
                cpu_us[num_shards].append(used_s / len(load.latencies_s) * 1e6)
    return _section(_refusal_us(), cpu_us, alone_us)


def _refusal_us() -> float:
    breaker = Breaker(BreakerSettings(), rng=lambda: 0.5)
    breaker.force_open(0.0)
    count = 100_000
    return min(timeit.repeat(lambda: breaker.allow(1.0), number=count, repeat=5)) / count * 1e6


def _section(
    refusal_us: float, cpu_us: dict[int, list[float]], alone_us: dict[int, list[float]]
) -> Section:
    figures = {
        "refusal_us": refusal_us,
        "added_cpu_us": median(cpu_us[8]) - median(cpu_us[7]),
        "added_alone_us": median(alone_us[8]) - median(alone_us[7]),
    }
    slowest_us = max(refusal_us, figures["added_cpu_us"])
    aim = target(f"under {_TARGET_US:g} µs for both", is_met=slowest_us < _TARGET_US)
    return Section(
        title="An open breaker",
        load=(
            "`Breaker.allow` of a breaker that is open, least of 5 times 100,000 calls; and "
            "queries over eight shards, one of them behind a breaker that is forced open, against "
            "queries over a cluster of seven shards: the gateway's CPU a query at 32 in flight, "
            "and the median alone."
        ),
        columns=("", "seven shards, µs", "eight, one refused, µs", "difference, µs"),
        rows=[
            ["one refusal", "", "", f"{refusal_us:.2f}"],
            [
                "CPU of the gateway a query",
                f"{median(cpu_us[7]):.1f}",
                f"{median(cpu_us[8]):.1f}",
                f"{figures['added_cpu_us']:+.1f}",
            ],
            [
                "latency alone, p50",
                f"{median(alone_us[7]):.0f}",
                f"{median(alone_us[8]):.0f}",
                f"{figures['added_alone_us']:+.0f}",
            ],
        ],
        reading=(
            f"A refusal costs {refusal_us:.2f} µs, and an open breaker's shard adds "
            f"{figures['added_cpu_us']:.1f} µs of CPU to a query {aim}."
        ),
        figures=figures,
    )
