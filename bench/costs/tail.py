"""The tail: two replicas of each shard, one of which stalls occasionally, or is stopped."""

import asyncio
import gc
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

from bench.harness.cluster import LOOP_LANE, STALLING_LANE, Asker, connect, run_cluster
from bench.harness.load import Load, closed_loop, open_loop
from bench.harness.options import Options
from bench.harness.report import Section, median, target
from bench.harness.rounds import turns
from bench.harness.second_phases import STALL_SHARE
from hedgerow.common.lifecycle import calm_collector
from hedgerow.common.settings.tail import HedgingSettings, ProbationSettings
from hedgerow.gateway.gateway import Gateway

# Each shard on two workers; the last one is the one that stalls, or is stopped.
_REPLICAS = ((0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 2, 3), (4, 5, 6, 7))
_SICK = 3
_STALL_P99S = 10.0  # the length of a stall, in multiples of the p99 when nothing stalls
_RATE = 100.0  # queries a second, a fraction of the cluster's capacity
_LENGTH = 12  # a 99.9th percentile needs thousands of queries
_MOST_ROUNDS = 5
_TARGET_CUT, _TARGET_EXTRA, _TARGET_COST = 3.0, 0.05, 0.02
_MODES = ("hedging off", "hedging on")
_IDLE_TIMES = 4  # times the usual number of rounds, to resolve a difference of 2 %
_STEADY = "nothing stalls"
_STEADY_ROUNDS = 3
_QUANTILES = (50, 95, 99, 99.9)


async def measure(options: Options) -> list[Section]:
    """Measure the three sections."""
    num_rounds = min(options.num_rounds, _MOST_ROUNDS)
    seconds = options.seconds * _LENGTH
    with run_cluster(_REPLICAS, stalls={_SICK}) as cluster:
        async with AsyncExitStack() as opened:
            gateways = {}
            # Otherwise the worker that stalls is soon ejected, and there is nothing to hedge.
            no_probation = ProbationSettings(max_ejection_percent=0.0)
            for mode in _MODES:
                hedging = HedgingSettings(max_extra_load=0.05 if mode == "hedging on" else 0.0)
                gateways[mode] = await opened.enter_async_context(
                    connect(cluster, hedging=hedging, probation=no_probation)
                )
            calm_collector()
            stalled = await _stalled(gateways, num_rounds, seconds)
            idle = await _idle(gateways, options)
            stopped = await _stopped(gateways["hedging on"], cluster.workers[_SICK].send_signal)
    return [stalled, idle, stopped]


async def _stalled(gateways: dict[str, Gateway], num_rounds: int, seconds: float) -> Section:
    ask = Asker(gateways["hedging off"], STALLING_LANE).ask
    await open_loop(ask, _RATE, seconds, seed=97)  # files are opened, caches filled
    rounds = [await open_loop(ask, _RATE, seconds, seed=98) for _ in range(_STEADY_ROUNDS)]
    p99_ms = median(load.quantile_ms(0.99) for load in rounds)
    stall_s = _STALL_P99S * p99_ms / 1000
    steady = Load(latencies_s=[one for load in rounds for one in load.latencies_s])
    asks = {
        mode: Asker(gateway, STALLING_LANE, stall_s=stall_s).ask
        for mode, gateway in gateways.items()
    }
    for ask in asks.values():  # learns how long the shards need
        await open_loop(ask, _RATE, seconds, seed=99)
    loads = {mode: Load() for mode in _MODES}
    before = _counts(gateways["hedging on"])
    for number, (mode, ask) in turns(asks.items(), num_rounds):
        load = await open_loop(ask, _RATE, seconds, seed=number)
        loads[mode].latencies_s += load.latencies_s
        loads[mode].num_failed += load.num_failed
    sent, won = (
        after - early for after, early in zip(_counts(gateways["hedging on"]), before, strict=True)
    )
    extra = sent / (8 * len(loads["hedging on"].latencies_s))
    section = Section(
        title="Hedging, with a replica that stalls",
        load=(
            "Eight shards on two workers each. One of the four workers stalls for "
            f"{stall_s * 1000:.0f} ms in {STALL_SHARE:.0%} of its requests, drawn at random: "
            f"{_STALL_P99S:g} times the p99 of the same load when nothing stalls, as measured just "
            f"before (the median of {_STEADY_ROUNDS} rounds, {p99_ms:.1f} ms). Probation is off. "
            f"Poisson arrivals, {_RATE:g}/s, process lane, ids and scores without fields. Times "
            "are measured from when a query was due; quantiles are over all rounds."
        ),
        columns=("", "p50, ms", "p95, ms", "p99, ms", "p99.9, ms", "extra requests"),
        formats=(*(".1f",) * 4, ".1%"),
    )
    for row, load in ((_STEADY, steady), *loads.items()):
        figures = {
            **{f"p{share:g}_ms": load.quantile_ms(share / 100) for share in _QUANTILES},
            "extra_share": extra if row == "hedging on" else 0.0,
            "num_answers": float(len(load.latencies_s)),
            "num_failed": float(load.num_failed),
        }
        section.add(row, figures)
    section.figures["stall"] = {"stall_ms": stall_s * 1000, "p99_ms": p99_ms}
    cut = section.figures["hedging off"]["p99.9_ms"] / section.figures["hedging on"]["p99.9_ms"]
    better = target(f"at least {_TARGET_CUT:g}", is_met=cut >= _TARGET_CUT)
    cheap = target(f"at most {_TARGET_EXTRA:.0%}", is_met=extra <= _TARGET_EXTRA)
    section.reading = (
        f"The 99.9th percentile is {cut:.1f} times better {better} for {extra:.1%} more requests "
        f"{cheap}; {won} of {sent} second copies won."
    )
    return section


def _counts(gateway: Gateway) -> tuple[int, int]:
    counts = gateway.hedge_counts()
    return counts.sent, counts.won


async def _idle(gateways: dict[str, Gateway], options: Options) -> Section:
    loads: dict[str, list[Load]] = {mode: [] for mode in _MODES}
    num_rounds = _IDLE_TIMES * options.num_rounds
    for number in range(num_rounds):
        for mode in _MODES if number % 2 else reversed(_MODES):  # neither is always the first
            gc.collect()
            ask = Asker(gateways[mode], LOOP_LANE).ask
            loads[mode].append(await closed_loop(ask, 32, options.seconds))
    section = Section(
        title="What hedging costs when nothing is slow",
        load=(
            "The same cluster, `noop` in the loop lane, 32 in flight; medians of "
            f"{num_rounds} rounds."
        ),
        columns=("", "queries/s"),
        formats=(",.0f",),
    )
    for mode in _MODES:
        section.add(mode, {"throughput": median(load.throughput for load in loads[mode])})
    ratios = median(
        on.throughput / off.throughput
        for off, on in zip(loads[_MODES[0]], loads[_MODES[1]], strict=True)
    )
    aim = target(f"at least {1 - _TARGET_COST:.0%}", is_met=ratios >= 1 - _TARGET_COST)
    section.reading = (
        f"With hedging, throughput is {ratios:.1%} of what it is without, the median of the "
        f"rounds' ratios {aim}."
    )
    return section


async def _stopped(gateway: Gateway, send: Callable[[int], None]) -> Section:
    section = Section(
        title="A replica that is stopped",
        load=(
            f"The same cluster; the worker is stopped (SIGSTOP) for 3 s under {_RATE:g} queries/s, "
            "while its heartbeat counts as fresh."
        ),
        columns=("", "answers", "partial", "p50, ms", "p99, ms", "latest, ms"),
        formats=(".0f", ".0f", ".1f", ".1f", ".1f"),
    )
    ask = Asker(gateway, STALLING_LANE).ask
    loop = asyncio.get_running_loop()
    loop.call_later(0.5, send, signal.SIGSTOP)
    load = await open_loop(ask, _RATE, 3.5, seed=5)
    send(signal.SIGCONT)
    figures = {
        "num_answers": float(len(load.latencies_s)),
        "num_partial": float(load.num_failed),
        "p50_ms": load.quantile_ms(0.5),
        "p99_ms": load.quantile_ms(0.99),
        "latest_ms": load.quantile_ms(1.0),
    }
    section.add("stopped", figures, "hedging on")
    section.reading = "A partial answer is one that lacks a shard, with a deadline of 2 s."
    return section
