"""The deadline, with one shard hung and half of the load that the cluster can bear."""

import signal

from bench.cluster import LOOP_LANE, PROCESS_LANE, Asker, connect, run_cluster
from bench.load import Load, closed_loop, open_loop
from bench.options import Options
from bench.report import Section, median
from common.lifecycle import calm_collector
from gateway.service import Gateway

DEADLINE_MS = 50.0
_GRACE_MS = 5.0
_TARGET = 0.999
_HUNG_SHARD = 7
_LAYOUT = ((0, 1), (2, 3), (4, 5), (6,), (_HUNG_SHARD,))


async def measure(options: Options) -> Section:
    """Stop a shard's worker, and see when the answers leave."""
    section = Section(
        title="Answers by the deadline, with a shard that hangs",
        load=(
            f"Eight shards, `noop`, a deadline of {DEADLINE_MS:g} ms; one shard's worker stopped "
            "(SIGSTOP), its heartbeat still taken for fresh and its breaker disabled, so that "
            "every query waits for it in vain. Poisson arrivals at half of the throughput that "
            "the cluster has, just before, with 32 in flight and no shard hung. Time counts from "
            "when a query was due."
        ),
        columns=(
            *("", "arrivals/s", f"within {DEADLINE_MS:g} + {_GRACE_MS:g} ms"),
            *("p50, ms", "p99.9, ms", "latest, ms"),
        ),
    )
    profiles = (LOOP_LANE, PROCESS_LANE)
    loads: dict[str, list[Load]] = {profile: [] for profile in profiles}
    rates: dict[str, list[float]] = {profile: [] for profile in profiles}
    with run_cluster(_LAYOUT, heartbeat_expiry_s=3600.0) as cluster:
        hung = cluster.workers[-1]
        async with connect(cluster) as gateway:
            gateway.set_breaker(_HUNG_SHARD, "disabled")
            calm_collector()
            for number in range(options.num_rounds):
                for profile in profiles:
                    rate = await _throughput(gateway, profile, options.seconds) / 2
                    hung.send_signal(signal.SIGSTOP)
                    ask = Asker(gateway, profile, DEADLINE_MS, num_ok=7).ask
                    load = await open_loop(ask, rate, options.seconds, seed=number)
                    hung.send_signal(signal.SIGCONT)
                    rates[profile].append(rate)
                    loads[profile].append(load)
    for profile in profiles:
        _add(section, profile, median(rates[profile]), loads[profile])
    worst = min(row["share_in_time"] for row in section.figures.values())
    section.reading = (
        f"At least {worst:.3%} of the answers came in time (target: {_TARGET:.1%}); an answer "
        "without seven of the eight shards counts as late. The share is over all rounds."
    )
    return section


async def _throughput(gateway: Gateway, profile: str, seconds: float) -> float:
    """What the cluster can bear now, with every shard well again."""
    ask = Asker(gateway, profile).ask
    while (await closed_loop(ask, 32, 0.1)).num_failed:
        continue  # the worker that was stopped is still catching up
    return (await closed_loop(ask, 32, seconds)).throughput


def _add(section: Section, profile: str, rate: float, loads: list[Load]) -> None:
    limit_s = (DEADLINE_MS + _GRACE_MS) / 1000
    num_asked = sum(len(load.latencies_s) + load.num_failed for load in loads)
    num_met = sum(sum(latency <= limit_s for latency in load.latencies_s) for load in loads)
    row = {
        "arrivals_per_s": rate,
        "share_in_time": num_met / max(1, num_asked),
        "p50_ms": median(load.quantile_ms(0.5) for load in loads),
        "p999_ms": median(load.quantile_ms(0.999) for load in loads),
        "latest_ms": max(latency for load in loads for latency in load.latencies_s) * 1000,
        "num_failed": float(sum(load.num_failed for load in loads)),
    }
    section.figures[profile] = row
    lane = "loop lane" if profile == LOOP_LANE else "process lane"
    section.rows.append(
        [
            *(lane, f"{rate:,.0f}", f"{row['share_in_time']:.3%}"),
            *(f"{row['p50_ms']:.2f}", f"{row['p999_ms']:.2f}", f"{row['latest_ms']:.2f}"),
        ]
    )
