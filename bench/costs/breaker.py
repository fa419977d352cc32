"""What a breaker costs: one refusal, and a query with a shard behind an open breaker."""

import os
import timeit

from bench.harness.cluster import LOOP_LANE, Asker, connect, run_cluster
from bench.harness.load import closed_loop
from bench.harness.options import Options
from bench.harness.report import Section, target
from bench.harness.rounds import turns
from bench.harness.subject import IN_FLIGHT, Subject
from hedgerow.common.lifecycle import calm_collector
from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.gateway.policies.breaker import Breaker

_TARGET_US = 20.0
_SEVEN = ((0, 1), (2, 3), (4, 5), (6,))
_EIGHT = (*_SEVEN, (7,))


async def measure(options: Options) -> Section:
    """Compare eight shards, one of them behind an open breaker, with seven shards."""
    with run_cluster(_SEVEN) as seven, run_cluster(_EIGHT) as eight:
        async with connect(seven) as without, connect(eight) as behind:
            behind.set_breaker(7, "forced_open")
            calm_collector()
            parts = {"gateway": [os.getpid()]}
            subjects = [
                Subject(name, Asker(gateway, LOOP_LANE, num_ok=7).ask, parts)
                for name, gateway in (("seven", without), ("eight", behind))
            ]
            for subject in subjects:
                await closed_loop(subject.ask, IN_FLIGHT, 0.5)
            for _, subject in turns(subjects, options.num_rounds):
                await subject.measure_alone(options.seconds)
                await subject.measure_together(options.seconds)
    return _section(_refusal_us(), *subjects)


def _refusal_us() -> float:
    breaker = Breaker(BreakerSettings(), rng=lambda: 0.5)
    breaker.force_open(0.0)
    count = 100_000
    return min(timeit.repeat(lambda: breaker.allow(1.0), number=count, repeat=5)) / count * 1e6


def _section(refusal_us: float, seven: Subject, eight: Subject) -> Section:
    cpu_us = [subject.cpu_of("gateway") for subject in (seven, eight)]
    alone_us = [subject.alone_ms * 1000 for subject in (seven, eight)]
    figures = {
        "refusal_us": refusal_us,
        "added_cpu_us": cpu_us[1] - cpu_us[0],
        "added_alone_us": alone_us[1] - alone_us[0],
    }
    slowest_us = max(refusal_us, figures["added_cpu_us"])
    aim = target(f"under {_TARGET_US:g} µs for both", is_met=slowest_us < _TARGET_US)
    return Section(
        title="An open breaker",
        load=(
            "`Breaker.allow` of an open breaker, the fastest of 5 runs of 100,000 calls; and "
            "queries over eight shards, one of them behind a breaker that is forced open, compared "
            "with queries over a cluster of seven shards: the gateway's CPU time per query with 32 "
            "in flight, and the median latency with one."
        ),
        columns=("", "seven shards, µs", "eight, one refused, µs", "difference, µs"),
        rows=[
            ["one refusal", "", "", f"{refusal_us:.2f}"],
            [
                "CPU of the gateway per query",
                *(f"{one:.1f}" for one in cpu_us),
                f"{figures['added_cpu_us']:+.1f}",
            ],
            [
                "latency alone, p50",
                *(f"{one:.0f}" for one in alone_us),
                f"{figures['added_alone_us']:+.0f}",
            ],
        ],
        reading=(
            f"A refusal costs {refusal_us:.2f} µs, and an open breaker's shard adds "
            f"{figures['added_cpu_us']:.1f} µs of CPU to a query {aim}."
        ),
        figures=figures,
    )
