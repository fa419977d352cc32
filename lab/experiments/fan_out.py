"""A query over all shards takes as long as the slowest of them, not as long as their sum."""

import statistics
import time
from collections.abc import Sequence
from typing import Any

from bench.harness.plots import BLUE, GREEN, GREY, ORANGE, Span, legend, logarithmic, tidy, timeline
from lab.cluster import SLEEP, connect, run_cluster
from lab.finding import Finding, Options, at_least, at_most, code_of, draw
from lab.journal import Stint
from lab.script import script
from lab.shards import Shards

SHARD_MS = 200.0
FEW = 8
COUNTS = (1, 2, 4, 8, 16, 32, 64)
_TIMEOUT_S = 10.0
_NUM_ROUNDS = 3
_MOST_WORKERS = 4


async def one_after_another(shards: Shards, num_shards: int) -> None:
    """Ask each shard once the previous one has answered."""
    for shard in range(num_shards):
        await _whole(shards, [shard], num_shards)


async def all_at_once(shards: Shards, num_shards: int) -> None:
    """Scatter to all shards, and gather their replies as they arrive."""
    await _whole(shards, range(num_shards), num_shards)


async def run(options: Options) -> Finding:
    """Ask 8 shards in both ways, then 1 to 64 at once."""
    counts = (1, FEW) if options.is_quick else COUNTS
    num_rounds = 1 if options.is_quick else _NUM_ROUNDS
    sequence_ms: list[float] = []
    at_once_ms: dict[int, list[float]] = {}
    stints: list[Stint] = []
    for count in counts:
        num_workers = min(count, _MOST_WORKERS)
        scorers = -(-count // num_workers)
        async with (
            run_cluster(count, num_workers=num_workers, scorers=scorers) as cluster,
            connect(cluster) as gateway,
            Shards.of(gateway) as shards,
        ):
            await all_at_once(shards, count)  # opens the stores
            since = time.monotonic()
            for _ in range(num_rounds):
                at_once_ms.setdefault(count, []).append(await _timed(all_at_once, shards, count))
                if count == FEW:
                    sequence_ms.append(await _timed(one_after_another, shards, count))
            if count == FEW:
                stints = cluster.stints(since)[: 2 * FEW]
    medians = {count: statistics.median(times) for count, times in at_once_ms.items()}
    return _finding(medians, statistics.median(sequence_ms), stints, num_rounds)


async def _whole(shards: Shards, asked: Sequence[int], num_shards: int) -> None:
    query = script([SHARD_MS] * num_shards)
    gather = await shards.ask(asked, query, SLEEP, _TIMEOUT_S)
    if gather.num_ok != len(asked):
        raise RuntimeError(f"{len(asked) - gather.num_ok} shards did not answer")


async def _timed(ask: Any, shards: Shards, count: int) -> float:
    started = time.perf_counter()
    await ask(shards, count)
    return (time.perf_counter() - started) * 1000


def _finding(
    at_once_ms: dict[int, float], sequence_ms: float, stints: list[Stint], num_rounds: int
) -> Finding:
    most = max(at_once_ms)
    finding = Finding(
        name="fan-out",
        title="Fan-out against sequence",
        claim=(
            f"{FEW} shards of {SHARD_MS:g} ms answer in {SHARD_MS:g} ms when all are asked at once "
            f"and in {FEW * SHARD_MS:,.0f} ms one after another; with {most} shards it is still "
            f"about {SHARD_MS:g} ms."
        ),
        set_up=(
            f"A cluster for each number of shards, on up to {_MOST_WORKERS} workers, with a scorer "
            f"for each shard; every shard waits for {SHARD_MS:g} ms, which takes no CPU, as a call "
            f"to a store or a model elsewhere would. Figures are medians of {num_rounds}, in "
            "turns; requests leave through the gateway's transport, and replies arrive at its "
            "`Gather`."
        ),
        code=[code_of(one_after_another), code_of(all_at_once), code_of(Shards.ask)],
        columns=("shards", "all at once, ms", "one after another, ms"),
    )
    for count, took_ms in at_once_ms.items():
        measured = count == FEW
        other = f"{sequence_ms:,.0f}" if measured else f"{count * SHARD_MS:,.0f} (by arithmetic)"
        finding.rows.append([str(count), f"{took_ms:.0f}", other])
    finding.checks = [
        at_least(
            f"{FEW} shards: one after another, relative to all at once",
            sequence_ms / at_once_ms[FEW],
            FEW / 2,
            f"{FEW} times",
            " times",
        ),
        at_least("one after another", sequence_ms, FEW * SHARD_MS, "1,600 ms", " ms"),
        at_most("all at once", at_once_ms[FEW], 2 * SHARD_MS, f"{SHARD_MS:g} ms", " ms"),
        at_most(
            f"{most} shards, relative to one",
            at_once_ms[most] / at_once_ms[1],
            2,
            "1 times",
            " times",
        ),
    ]
    finding.plots = [
        draw(
            "fan-out-timeline",
            "Bars over time: eight shards at once, then one after another",
            lambda axes: _paint_timeline(axes, stints),
            height_in=3.0,
        ),
        draw(
            "fan-out-growth",
            "Time to the answer over the number of shards, both logarithmic: "
            "flat when all are asked at once, a straight line upwards one after another",
            lambda axes: _paint_growth(axes, at_once_ms, sequence_ms),
        ),
    ]
    finding.reading = (
        f"Beyond the {SHARD_MS:g} ms that they wait, {most} shards cost "
        f"{at_once_ms[most] - SHARD_MS:.0f} ms, and one shard {at_once_ms[1] - SHARD_MS:.0f} ms."
    )
    return finding


def _paint_timeline(axes: Any, stints: list[Stint]) -> None:
    start = min(stint.started_at for stint in stints)
    parts = ((GREEN, "all at once", stints[:FEW]), (ORANGE, "one after another", stints[FEW:]))
    spans = [
        Span(
            f"shard {stint.shard}",
            (stint.started_at - start) * 1000,
            ((stint.ended_at or start) - start) * 1000,
            color,
            label,
        )
        for color, label, part in parts
        for stint in sorted(part)
    ]
    timeline(axes, spans, "ms")
    legend([axes])


def _paint_growth(axes: Any, at_once_ms: dict[int, float], sequence_ms: float) -> None:
    counts = list(at_once_ms)
    axes.plot(
        counts,
        [count * SHARD_MS for count in counts],
        "--",
        color=GREY,
        label="one after another, by arithmetic",
    )
    axes.plot([FEW], [sequence_ms], "o", color=ORANGE, label="one after another, measured")
    axes.plot(counts, list(at_once_ms.values()), "o-", color=BLUE, label="all at once, measured")
    axes.set_xscale("log", base=2)
    logarithmic(axes.yaxis)
    axes.xaxis.set_major_formatter("{x:g}")
    tidy(axes, "shards", "time to the answer, ms")
    axes.legend(frameon=False)
