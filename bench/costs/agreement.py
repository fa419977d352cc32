"""The simulator against real worker processes: the same scenario, the same seeds."""

import asyncio
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.costs.drawn import SCENARIO
from bench.costs.real_run import Overhead, measure_overhead, observe_real
from bench.harness.cluster import run_cluster
from bench.harness.load import quantile
from bench.harness.options import Options
from bench.harness.plots import BLUE, RED, legend, paint_svg, tidy
from bench.harness.report import Section, target
from hedgerow.common.lifecycle import calm_collector
from hedgerow.gateway.simulate.run import Observed, observe
from hedgerow.gateway.simulate.scenario import Run

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
NUM_CHANCES = 20
_MOST_ROUNDS = 3
_TARGET_POINTS = 2.0
_FULL = "time for all"
_COVERAGE_PLOT, _LATENCY_PLOT = "agreement-coverage.svg", "agreement-latency.svg"
_OTHER_SEEDS = 1000  # from here on


@dataclass(slots=True)
class Seen:
    """Answers of one run, of all rounds.

    Attributes:
        fractions: coverage of each.
        took_ms: time of each.
        curves_ms: the latency curve of each lot that was pooled, at `QUANTILES`.
        second_copies: how many were sent, including those of queries that are not counted.
    """

    fractions: list[float] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)
    curves_ms: list[list[float]] = field(default_factory=list)
    second_copies: int = 0

    def add(self, observed: Observed) -> None:
        """Add a round."""
        self.fractions += observed.fractions
        self.took_ms += observed.took_ms
        self.second_copies += observed.hedges["sent"]

    @property
    def coverage(self) -> float:
        """Mean of the answers."""
        return statistics.fmean(self.fractions)

    def pool(self, lot: "Seen") -> None:
        """Add another lot of the same rounds."""
        self.fractions += lot.fractions
        self.took_ms += lot.took_ms
        self.second_copies += lot.second_copies
        self.curves_ms.append(lot.quantiles_ms)

    @property
    def quantiles_ms(self) -> list[float]:
        """The latency curve, at `QUANTILES`: the mean of the lots'.

        Of eighty answers the p99 is the last or the last but one. So quantiles are taken of each
        lot; those of all lots together would be quantiles of other answers.
        """
        curves = self.curves_ms or [[quantile(self.took_ms, share) for share in QUANTILES]]
        return [statistics.fmean(values) for values in zip(*curves, strict=True)]


@dataclass(slots=True)
class Pair:
    """One run, observed twice.

    Attributes:
        simulated: with the real run's seeds, `NUM_CHANCES` times, each time with other delays of
            timers and network, since none of them equals the real ones.
        luck: standard deviation of such a run's mean coverage that comes from those delays alone.
        chance: standard deviation from seed to seed, with other arrivals and work.
        curve_chance: median distance of the latency curve from the curves of other seeds.
    """

    run: Run
    real: Seen = field(default_factory=Seen)
    simulated: Seen = field(default_factory=Seen)
    luck: float = math.nan
    chance: float = math.nan
    curve_chance: float = math.nan

    @property
    def points(self) -> float:
        """Real coverage less simulated, in points."""
        return 100 * (self.real.coverage - self.simulated.coverage)

    @property
    def points_error(self) -> float:
        """Standard error of that, in points.

        With one replica both halves have the same arrivals and the same work. Several replicas draw
        their work independently, and which of them gets a request is chance.
        """
        return 100 * (self.luck if self.run.shards.replicas == 1 else self.chance)


def curve_distance(one: Sequence[float], other: Sequence[float]) -> float:
    """The distance of two latency curves: the largest relative difference of a quantile.

    For two curves of the same shape it is small at every quantile, even where there are few
    answers. The Kolmogorov-Smirnov distance is insensitive there: twice the p99 moves it by 0.01.

    Args:
        one: the quantiles of one, in ms.
        other: of the other, in the same order.

    Returns:
        A share of the larger value; 0 for equal curves, and always below 1.
    """
    return max(abs(a - b) / max(a, b) for a, b in zip(one, other, strict=True))


def simulate(run: Run, seeds: Sequence[int], timing: int = 0) -> Seen:
    """Simulate a run with each of these seeds; with another `timing`, other timers are late.

    It creates its own event loop, and so cannot be called on a running loop.
    """
    seen = Seen()
    for seed in seeds:
        seen.add(observe(run, seed, _OTHER_SEEDS * timing + seed))
    return seen


async def compare(
    replicas: int, rounds: int, names: Sequence[str] | None = None
) -> tuple[list[Pair], Overhead]:
    """Run the scenario's runs with this number of replicas, both for real and simulated.

    Args:
        replicas: workers of each shard; each worker has one shard and one scorer.
        rounds: seeds, from 1 on.
        names: of the runs; None for all.
    """
    runs = [
        run
        for run in SCENARIO.runs
        if run.shards.replicas == replicas and (names is None or run.name in names)
    ]
    pairs = [Pair(run) for run in runs]
    seeds = range(1, rounds + 1)
    layout = [(shard,) for shard in range(runs[0].shards.count)] * replicas
    with run_cluster(layout) as cluster:
        calm_collector()
        overhead = await measure_overhead(cluster)
        for seed in seeds:
            for pair in pairs:
                pair.real.add(await observe_real(cluster, pair.run, seed))
    for pair in pairs:
        await asyncio.to_thread(simulate_pair, pair, overhead.over(pair.run), seeds)
    return pairs, overhead


def simulate_pair(pair: Pair, run: Run, seeds: Sequence[int]) -> None:
    """Add the simulated half: `run` with the real one's seeds, and what chance does to it."""
    same = [simulate(run, seeds, number) for number in range(NUM_CHANCES)]
    others = [
        simulate(run, [_OTHER_SEEDS + number * len(seeds) + at for at in range(len(seeds))])
        for number in range(NUM_CHANCES)
    ]
    for seen in same:
        pair.simulated.pool(seen)
    pair.luck = statistics.stdev(seen.coverage for seen in same)
    pair.chance = statistics.stdev(seen.coverage for seen in others)
    ours = pair.simulated.quantiles_ms
    pair.curve_chance = statistics.median(
        curve_distance(ours, seen.quantiles_ms) for seen in others
    )


async def measure(options: Options) -> Section:
    """One worker a shard: deadlines from short to long, overload, and a shard that hangs."""
    rounds = min(options.num_rounds, _MOST_ROUNDS)
    pairs, overhead = await compare(1, rounds)
    section = _section("The simulator and real processes", pairs, overhead, rounds)
    full = next(pair for pair in pairs if pair.run.name == _FULL)
    section.reading += (
        f"\n\n![Coverage against the deadline]({_COVERAGE_PLOT})"
        f"\n\n![Time to the full answer]({_LATENCY_PLOT})"
    )
    section.plots[_COVERAGE_PLOT] = _coverage_plot(pairs)
    section.plots[_LATENCY_PLOT] = _latency_plot(full)
    return section


async def measure_replicas(options: Options) -> Section:
    """Two workers a shard, of which one stalls now and then: hedging off and on."""
    rounds = min(options.num_rounds, _MOST_ROUNDS)
    pairs, overhead = await compare(2, rounds)
    section = _section("The simulator and real replicas", pairs, overhead, rounds)
    hedged = pairs[-1]
    num_queries = rounds * (hedged.run.warmup + hedged.run.queries)
    num_first = num_queries * hedged.run.shards.count
    real = hedged.real.second_copies / num_first
    simulated = hedged.simulated.second_copies / num_first / NUM_CHANCES
    section.figures["second copies"] = {"real": real, "simulated": simulated}
    section.reading += (
        f" Hedging sent {real:.1%} more requests for real, and {simulated:.1%} simulated."
    )
    return section


def _section(title: str, pairs: Sequence[Pair], overhead: Overhead, rounds: int) -> Section:
    shards, replicas = pairs[0].run.shards.count, pairs[0].run.shards.replicas
    request, inside, reply, late = (
        quantile(values, 0.5)
        for values in (
            overhead.request_ms,
            overhead.inside_ms,
            overhead.reply_ms,
            overhead.late_ms,
        )
    )
    section = Section(
        title=title,
        load=(
            f"Each run of bench/costs/agreement.toml on {shards * replicas} real workers, and in "
            "virtual time: the same policies and settings, the same arrivals, work that sleeps for "
            f"times drawn from the same distributions. {rounds} seed{'s' if rounds > 1 else ''}. "
            "Beside the work the simulator has what requests were measured to cost before, one at "
            f"a time, with work of a known time: {request:.2f} ms (median) to the worker, "
            f"{inside:.2f} ms in it, {reply:.2f} ms back; and {late:.2f} ms by which a timer is "
            f"late. Simulated is the mean over {NUM_CHANCES} lots of late timers, and ± the "
            "standard deviation of one (of replicas, which draw their work for themselves, that "
            "over seeds). By chance: the standard deviation of such a run's mean coverage over "
            f"{NUM_CHANCES} other seeds. Apart: the largest relative difference of a quantile, p5 "
            "to p99; in brackets, the median of that between two seeds of the simulator."
        ),
        columns=(
            "run",
            "queries",
            "coverage, real",
            "simulated",
            "difference, points",
            "by chance",
            "p50, ms, real",
            "simulated",
            "p95, real",
            "simulated",
            "apart",
        ),
    )
    section.figures["overhead"] = {
        "request_p50_ms": request,
        "inside_p50_ms": inside,
        "reply_p50_ms": reply,
        "late_p50_ms": late,
    }
    for pair in pairs:
        section.figures[pair.run.name] = _figures(pair)
        section.rows.append(_row(pair))
    worst = max(pairs, key=lambda pair: abs(pair.points))
    farthest = max(_distance(pair) for pair in pairs)
    aim = target(f"{_TARGET_POINTS:g}", is_met=abs(worst.points) <= _TARGET_POINTS)
    section.reading = (
        f"Coverage differs by {abs(worst.points):.2f} points at most, in {worst.run.name} {aim}, "
        f"and no quantile by more than {farthest:.1%}."
    )
    return section


def _distance(pair: Pair) -> float:
    return curve_distance(pair.real.quantiles_ms, pair.simulated.quantiles_ms)


def _figures(pair: Pair) -> dict[str, Any]:
    return {
        "num_queries": len(pair.real.fractions),
        "coverage_real": pair.real.coverage,
        "coverage_simulated": pair.simulated.coverage,
        "difference_points": pair.points,
        "difference_error_points": pair.points_error,
        "chance_points": 100 * pair.chance,
        "quantiles": list(QUANTILES),
        "real_ms": pair.real.quantiles_ms,
        "simulated_ms": pair.simulated.quantiles_ms,
        "curve_distance": _distance(pair),
        "curve_distance_by_chance": pair.curve_chance,
    }


def _row(pair: Pair) -> list[str]:
    real, simulated = pair.real, pair.simulated
    p50, p95 = QUANTILES.index(0.5), QUANTILES.index(0.95)
    return [
        pair.run.name,
        f"{len(real.fractions)}",
        f"{real.coverage:.2%}",
        f"{simulated.coverage:.2%}",
        f"{pair.points:+.2f} ± {pair.points_error:.2f}",
        f"{100 * pair.chance:.2f}",
        f"{real.quantiles_ms[p50]:.1f}",
        f"{simulated.quantiles_ms[p50]:.1f}",
        f"{real.quantiles_ms[p95]:.1f}",
        f"{simulated.quantiles_ms[p95]:.1f}",
        f"{_distance(pair):.1%} ({pair.curve_chance:.1%})",
    ]


def _coverage_plot(pairs: Sequence[Pair]) -> str:
    """Coverage over the deadline, of the runs that are named by their deadlines."""
    swept = [pair for pair in pairs if pair.run.name.endswith(" ms")]

    def points(pick: Callable[[Pair], Seen]) -> list[tuple[float, float]]:
        return [(pair.run.query.deadline_ms, 100 * pick(pair).coverage) for pair in swept]

    return _both(
        _COVERAGE_PLOT,
        points(lambda pair: pair.simulated),
        points(lambda pair: pair.real),
        ("deadline, ms", "mean coverage, %"),
    )


def _latency_plot(pair: Pair) -> str:
    """The share of answers that were full within a time."""

    def points(seen: Seen, shares: Sequence[float]) -> list[tuple[float, float]]:
        return [(quantile(seen.took_ms, one), 100 * one) for one in shares]

    steps = [share / 100 for share in range(1, 100)]
    return _both(
        _LATENCY_PLOT,
        points(pair.simulated, steps),
        points(pair.real, (*steps[4::5], 0.99)),
        ("time to the answer, ms", "answers with every shard, %"),
    )


def _both(
    name: str,
    simulated: Sequence[tuple[float, float]],
    real: Sequence[tuple[float, float]],
    labels: tuple[str, str],
) -> str:
    """A line of what was simulated, and dots of what was real."""

    def paint(axes: Any) -> None:
        axes.plot(*zip(*simulated, strict=True), color=BLUE, label="simulated")
        axes.plot(*zip(*real, strict=True), "o", color=RED, markersize=4, label="real")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 105)
        tidy(axes, *labels)
        legend([axes])

    return paint_svg(name, paint, "make bench")
