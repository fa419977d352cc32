"""Hedging on a real cluster, and the curve of coverage that it moves."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.harness.cluster import search
from bench.harness.load import open_loop, quantile
from bench.harness.plots import BLUE, GREY, RED, legend, logarithmic, longer, tidy
from hedgerow.common.settings.tail import CoverageSettings, HedgingSettings
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.policies.hedging import HedgeSchedule
from lab.cluster import COLLECTION, STALL, connect, run_cluster
from lab.finding import Finding, Options, at_least, at_most, code_of, draw
from lab.work import STALL_S, STALL_SHARE, USUAL_S, stall

NUM_SHARDS = 8
LONG_MS, SHORT_MS = 400.0, 60.0
_RATE = 30.0
_SECONDS, _NUM_ROUNDS = 2.5, 4
_MODES = {"hedging off": 0.0, "hedging on": 0.05}
_MOST_EXTRA = 0.05


@dataclass(slots=True)
class Seen:
    """What the queries of one gateway have seen.

    Attributes:
        took_s: times of the queries with the long deadline, from when each was due.
        covered: coverage of the queries with the short one.
        curve: what the gateway has learnt from the former, as deadline in ms → coverage.
        predicted: coverage at the short deadline, according to it.
        num_first: first copies of requests.
        num_extra: second copies.
    """

    took_s: list[float] = field(default_factory=list)
    covered: list[float] = field(default_factory=list)
    curve: list[tuple[float, float]] = field(default_factory=list)
    predicted: float = float("nan")
    num_first: int = 0
    num_extra: int = 0


async def run(options: Options) -> Finding:
    """Ask by a gateway that hedges and one that does not, in turns."""
    num_rounds, seconds = (1, 2.0) if options.is_quick else (_NUM_ROUNDS, _SECONDS)
    seen = {mode: Seen() for mode in _MODES}
    async with (
        run_cluster(NUM_SHARDS, num_replicas=2) as cluster,
        contextlib.AsyncExitStack() as up,
    ):
        # One for each deadline, so that neither learns from the other's queries.
        gateways = {
            (mode, deadline_ms): await up.enter_async_context(
                connect(
                    cluster,
                    # Each is asked in one turn out of four, so what it learns must last that long.
                    hedging=HedgingSettings(max_extra_load=extra, window_s=60.0),
                    coverage=CoverageSettings(),
                )
            )
            for mode, extra in _MODES.items()
            for deadline_ms in (LONG_MS, SHORT_MS)
        }
        for (_, deadline_ms), gateway in gateways.items():  # learns how long the shards need
            await _load(gateway, deadline_ms, seconds, 0, Seen())
        before = {place: one.hedge_counts().sent for place, one in gateways.items()}
        for number in range(num_rounds):
            for (mode, deadline_ms), gateway in gateways.items():
                await _load(gateway, deadline_ms, seconds, number + 1, seen[mode])
        for mode, one in seen.items():
            gateway = gateways[mode, LONG_MS]
            one.num_extra = gateway.hedge_counts().sent - before[mode, LONG_MS]
            curve = gateway.coverage_curve(COLLECTION, SHORT_MS)
            one.curve = [(point["deadline_ms"], point["coverage"]) for point in curve["points"]]
            one.predicted = curve["coverage"]
    return _finding(seen, num_rounds, seconds)


async def _load(
    gateway: Gateway, deadline_ms: float, seconds: float, seed: int, seen: Seen
) -> None:
    async def ask() -> None:
        result = await search(gateway, "", STALL, deadline_ms, COLLECTION)
        if deadline_ms == SHORT_MS:
            seen.covered.append(result.coverage.fraction)

    load = await open_loop(ask, _RATE, seconds, seed=seed)
    if deadline_ms == LONG_MS:
        seen.took_s += load.latencies_s
        seen.num_first += NUM_SHARDS * len(load.latencies_s)
    await asyncio.sleep(0.2)  # what is late is learnt from too


def _finding(seen: Mapping[str, Seen], num_rounds: int, seconds: float) -> Finding:
    on = seen["hedging on"]
    extra = on.num_extra / max(1, on.num_first)
    mean = {mode: 100 * sum(one.covered) / len(one.covered) for mode, one in seen.items()}
    wrong = max(abs(100 * one.predicted - mean[mode]) for mode, one in seen.items())
    alone = 1 - (1 - STALL_SHARE) ** NUM_SHARDS
    finding = Finding(
        name="hedging",
        title="Hedging, and what coverage a deadline buys",
        claim=(
            f"When each of {NUM_SHARDS} shards stalls in {STALL_SHARE:.0%} of its requests, "
            f"{alone:.0%} of the queries meet a stall. Second copies, a few percent more requests, "
            "avoid most of that; and the curve of coverage against deadline, which a gateway "
            "learns from its queries, predicts what a shorter deadline will give."
        ),
        set_up=(
            f"{NUM_SHARDS} shards, each on two of four workers. A request takes {USUAL_S * 1000:g} "
            f"ms (lognormal), and in {STALL_SHARE:.0%} of the attempts {STALL_S * 1000:g} ms more. "
            f"{_RATE:g} queries a second (Poisson) with a deadline of {LONG_MS:g} ms and of "
            f"{SHORT_MS:g} ms, by gateways that hedge and by others that do not, in turns, "
            f"{num_rounds} rounds of {seconds:g} s each; the curve is that of {LONG_MS:g} ms. "
            "`docs/tail.md` simulates the same for many more queries and up to 2,000 shards."
        ),
        code=[code_of(HedgeSchedule.look), code_of(HedgeSchedule.allow), code_of(stall)],
        columns=(
            "",
            "p50, ms",
            "p90, ms",
            "p99, ms",
            "additional requests",
            f"coverage at {SHORT_MS:g} ms, predicted",
            "measured",
        ),
    )
    for mode, one in seen.items():
        quantiles = [quantile(one.took_s, share) * 1000 for share in (0.5, 0.9, 0.99)]
        finding.rows.append(
            [
                mode,
                *(f"{value:.1f}" for value in quantiles),
                f"{one.num_extra / max(1, one.num_first):.1%}",
                f"{one.predicted:.1%}",
                f"{mean[mode]:.1f}%",
            ]
        )
    met = {
        mode: 100 * sum(took > STALL_S for took in one.took_s) / len(one.took_s)
        for mode, one in seen.items()
    }
    finding.checks = [
        at_least(
            "queries that meet a stall, hedging off",
            met["hedging off"],
            60 * alone,
            f"{100 * alone:.0f} %",
            " %",
        ),
        at_least(
            "queries that meet a stall: hedging off, relative to on (none counts as one)",
            met["hedging off"] / max(met["hedging on"], 100 / len(on.took_s)),
            2.5,
            "over 5 times",
            " times",
        ),
        at_most(
            "additional requests",
            100 * extra,
            100 * _MOST_EXTRA + 1,
            f"{100 * _MOST_EXTRA:g} % (`hedging.max_extra_load`)",
            " %",
        ),
        at_least(
            "coverage at the short deadline, hedging on, less off",
            mean["hedging on"] - mean["hedging off"],
            0.3,
            f"up to {100 * STALL_SHARE:g} points",
            " points",
        ),
        at_most("what the curve predicted, less what came", wrong, 2.0, "0 points", " points"),
    ]
    finding.plots = [
        draw(
            "hedging",
            "Left, the share of queries that took longer, over the time: without "
            "hedging a shelf at the stall; right, coverage against deadline",
            lambda axes: _paint(axes, seen, mean),
            columns=2,
        ),
    ]
    return finding


def _paint(axes: Any, seen: Mapping[str, Seen], mean: Mapping[str, float]) -> None:
    times, shares = axes
    for (mode, one), color in zip(seen.items(), (RED, BLUE), strict=True):
        longer(times, [took_s * 1000 for took_s in one.took_s], mode, color)
        points = [point for point in one.curve if point[0] <= 250]
        shares.plot([at for at, _ in points], [100 * one for _, one in points], color=color)
        shares.plot(
            [SHORT_MS],
            [mean[mode]],
            "o",
            color=color,
        )
    logarithmic(times.xaxis)
    logarithmic(times.yaxis, lambda share, _: f"{100 * share:g} %")
    tidy(times, "time to the answer, ms", "queries that took longer", "the tail")
    tidy(
        shares,
        "deadline, ms",
        "documents in the answer, %",
        f"coverage as learnt; dots: measured at {SHORT_MS:g} ms",
    )
    shares.axvline(SHORT_MS, color=GREY, linestyle=":", linewidth=1)
    shares.set_ylim(90, 100.5)
    legend(axes)
