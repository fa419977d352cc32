"""Overload: goodput and refusals, with admission control and without."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from bench.harness.cluster import HELD_LANE, PAIRS, Asker, connect, run_cluster, search
from bench.harness.load import Load, closed_loop, open_loop, quantile
from bench.harness.options import Options
from bench.harness.plots import BLUE, RED, legend, paint_svg, tidy
from bench.harness.report import Section, median, target
from bench.harness.rounds import turns
from bench.harness.second_phases import HOLD_S
from hedgerow.common.errors import OverloadedError
from hedgerow.common.lifecycle import calm_collector
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.tail import AdmissionSettings
from hedgerow.gateway.gateway import Gateway

_PLOT = "overload.svg"
_DEADLINE_MS = 300.0
_GRACE_MS = 5.0
_TIMES = (1, 2, 3, 5)  # the saturating load
_TARGET, _TARGET_REFUSAL_MS = 0.8, 5.0
_MOST_ROUNDS = 5
# An adaptive limit needs seconds to settle; a throughput is measured in half a second.
_LENGTH = 8
_MODES = ("on", "off")


@dataclass(slots=True)
class Point:
    """The figures of one mode at one load, in all rounds.

    Attributes:
        goodput: answers a second that were in time with full coverage, in each round.
        refusals_s: how long each refusal took.
        num_asked: queries that were sent.
        num_partial: answers that did not reflect every shard.
    """

    goodput: list[float] = field(default_factory=list)
    refusals_s: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    num_asked: int = 0
    num_partial: int = 0


class PartialAnswerError(Exception):
    """An answer does not reflect every shard."""


class _Caller:
    """Asks for full answers by a deadline, and notes refusals and partial answers."""

    def __init__(self, gateway: Gateway, point: Point) -> None:
        self._gateway = gateway
        self._point = point

    async def ask(self) -> None:
        """One query.

        Raises:
            OverloadedError: it was refused.
            PartialAnswerError: some shards are not in the answer.
        """
        point = self._point
        point.num_asked += 1
        text, asked_at = f"query {point.num_asked}", time.perf_counter()
        try:
            result = await search(self._gateway, text, HELD_LANE, _DEADLINE_MS)
        except OverloadedError:
            point.refusals_s.append(time.perf_counter() - asked_at)
            raise
        if any(count for outcome, count in result.outcomes.items() if outcome is not Outcome.OK):
            point.num_partial += 1
            raise PartialAnswerError


async def measure(options: Options) -> Section:
    """Load one cluster in turns through two gateways, one of which refuses nothing."""
    points = {(mode, times): Point() for mode in _MODES for times in _TIMES}
    seconds = _LENGTH * options.seconds
    num_rounds = min(options.num_rounds, _MOST_ROUNDS)
    with run_cluster() as cluster:
        async with AsyncExitStack() as stack:
            gateways = {
                mode: await stack.enter_async_context(
                    connect(cluster, admission=AdmissionSettings(enabled=mode == "on"))
                )
                for mode in _MODES
            }
            calm_collector()
            rate = await _saturating_rate(gateways["off"], options.seconds)
            compared = [(times, mode) for times in _TIMES for mode in _MODES]
            for number, (times, mode) in turns(compared, num_rounds):
                point = points[mode, times]
                caller = _Caller(gateways[mode], point)
                load = await open_loop(caller.ask, times * rate, seconds, seed=number)
                _note(point, load, seconds)
                await _settle(gateways[mode])
    section = _section(points, rate, seconds, num_rounds)
    section.plots[_PLOT] = _plot(points, rate)
    return section


async def _saturating_rate(gateway: Gateway, seconds: float) -> float:
    """Answers a second with more queries in flight than the cluster has scorers."""
    ask = Asker(gateway, HELD_LANE).ask
    await closed_loop(ask, 16, seconds)
    return (await closed_loop(ask, 16, 4 * seconds)).throughput


async def _settle(gateway: Gateway) -> None:
    """Wait until no request is queued any more, and close all breakers."""
    while True:
        await asyncio.sleep(_DEADLINE_MS / 1000)
        shards = (await gateway.status())["shards"]
        if all(shard["backlog"] == 0 for shard in shards):
            break
    for shard in range(len(shards)):
        gateway.set_breaker(shard, "closed")


def _note(point: Point, load: Load, seconds: float) -> None:
    limit_s = (_DEADLINE_MS + _GRACE_MS) / 1000
    point.goodput.append(sum(latency <= limit_s for latency in load.latencies_s) / seconds)
    point.latencies_s += load.latencies_s
    point.late_s += load.late_s


def _section(
    points: dict[tuple[str, int], Point], rate: float, seconds: float, num_rounds: int
) -> Section:
    section = Section(
        title="More than the cluster can answer",
        load=(
            f"Eight shards on {len(PAIRS)} workers of one scorer each, tasks that hold a scorer "
            f"for {HOLD_S * 1000:g} ms, a deadline of {_DEADLINE_MS:g} ms. Poisson arrivals at 1 "
            f"to {max(_TIMES)} times the saturating load ({rate:.0f} a second, the throughput with "
            f"16 in flight), {num_rounds} rounds of {seconds:g} s, with admission control and with "
            "`admission.enabled = false` in turns. Goodput: answers a second that reflect every "
            f"shard, within {_DEADLINE_MS:g} + {_GRACE_MS:g} ms of when the query was due."
        ),
        columns=(
            "",
            "load",
            "goodput/s",
            "p50, ms",
            "p99, ms",
            "refused",
            "partial",
            "median refusal, ms",
        ),
    )
    for mode in _MODES:
        for times in _TIMES:
            point = points[mode, times]
            row = _figures(point)
            name = f"{mode}, {times} times"
            section.figures[name] = row
            cells = (
                f"{row['goodput']:.0f}",
                f"{row['p50_ms']:.0f}",
                f"{row['p99_ms']:.0f}",
                f"{row['share_refused']:.0%}",
                f"{row['share_partial']:.0%}",
                f"{row['refusal_p50_ms']:.2f}" if point.refusals_s else "—",
            )
            section.rows.append([f"admission {mode}", f"{times} times", *cells])
    section.reading = _reading(section)
    return section


def _figures(point: Point) -> dict[str, float]:
    return {
        "goodput": median(point.goodput),
        "p50_ms": quantile(point.latencies_s, 0.5) * 1000,
        "p99_ms": quantile(point.latencies_s, 0.99) * 1000,
        "share_refused": len(point.refusals_s) / max(1, point.num_asked),
        "share_partial": point.num_partial / max(1, point.num_asked),
        "refusal_p50_ms": quantile(point.refusals_s, 0.5) * 1000,
        "sent_late_p99_ms": quantile(point.late_s, 0.99) * 1000,
    }


def _reading(section: Section) -> str:
    kept = {mode: _kept([section.figures[f"{mode}, {n} times"] for n in _TIMES]) for mode in _MODES}
    refusals = [section.figures[f"on, {times} times"]["refusal_p50_ms"] for times in _TIMES]
    slowest_ms = max((one for one in refusals if one == one), default=float("nan"))  # noqa: PLR0124 - nan
    goodput = target(f"{_TARGET:.0%}", is_met=kept["on"] >= _TARGET)
    refusal = target(f"under {_TARGET_REFUSAL_MS:g} ms", is_met=slowest_ms < _TARGET_REFUSAL_MS)
    return (
        f"With admission control, goodput stays at {kept['on']:.0%} of its peak or more {goodput}, "
        f"without it at {kept['off']:.0%}; the slowest median of a refusal is "
        f"{slowest_ms:.2f} ms {refusal}.\n\n"
        f"![Goodput against load, with admission control and without]({_PLOT})"
    )


def _kept(rows: Sequence[dict[str, float]]) -> float:
    goodput = [row["goodput"] for row in rows]
    return min(goodput) / max(*goodput, 1e-9)


def _plot(points: dict[tuple[str, int], Point], rate: float) -> str:
    def paint(axes: Any) -> None:
        for mode, color in zip(_MODES, (BLUE, RED), strict=True):
            goodput = [median(points[mode, times].goodput) for times in _TIMES]
            axes.plot(_TIMES, goodput, "o-", color=color, label=f"admission {mode}")
        axes.set_xlim(0, 1.05 * max(_TIMES))
        axes.set_ylim(0, 1.2 * rate)
        load = f"load, in times of {rate:.0f} queries a second"
        tidy(axes, load, "answers a second, in time and in full")
        legend([axes])

    return paint_svg(_PLOT, paint, "make bench")
