"""A dependency that degrades: what its callers, and callers who do not need it, pay for that."""

from collections.abc import Callable, Sequence
from typing import Any

from bench.harness.load import quantile
from bench.harness.plots import BLUE, GREEN, GREY, RED, legend, logarithmic, tidy
from hedgerow.gateway.policies.breaker import Breaker, State, Transition
from lab.cluster import connect, run_cluster
from lab.experiments.breaker_trial import (
    HEALTHY,
    HEALTHY_EVERY_S,
    HEALTHY_MS,
    HEALTHY_TIMEOUT_S,
    NUM_CALLERS,
    SICK,
    Call,
    Record,
    Trial,
    guarded,
)
from lab.finding import Finding, Options, at_least, at_most, code_of, draw, exactly
from lab.shards import Shards

NUM_SCORERS = 8
LEAST_KB = 1.0  # the least memory of a caller who waits
_DEGRADED_S, _QUICK_S = 5.0, 3.0
_MODES = ("without a breaker", "with a breaker")


async def run(options: Options) -> Finding:
    """Make the same calls with a breaker and without."""
    degraded_s = _QUICK_S if options.is_quick else _DEGRADED_S
    records = {}
    async with (
        run_cluster(2, num_workers=1, scorers=NUM_SCORERS) as cluster,
        connect(cluster) as gateway,
        Shards.of(gateway) as shards,
    ):
        for mode in _MODES:
            trial = Trial(cluster, shards, degraded_s, is_guarded=mode == _MODES[1])
            records[mode] = await trial.run()
    return _finding(records, degraded_s)


def _during(record: Record) -> list[float]:
    """How long healthy calls took that were made during the crowd."""
    return [took for at_s, took in record.healthy if record.is_crowded(at_s)]


def _in_vain(record: Record) -> float:
    took = _during(record)
    return 100 * sum(one == float("inf") for one in took) / max(1, len(took))


def _finding(records: dict[str, Record], degraded_s: float) -> Finding:
    without, guarded_by = (records[mode] for mode in _MODES)
    finding = Finding(
        name="breaker",
        title="A breaker, and mistake 5: none",
        claim=(
            f"A dependency degrades, so that each call takes {degraded_s:g} s, and {NUM_CALLERS} "
            f"callers come at once. Without a breaker each of them is held for {degraded_s:g} s "
            "with its task and its memory, and calls that do not even need the dependency starve. "
            "With a breaker the price is five failures; then callers are refused in under 1 ms, "
            "other calls are unaffected, and one probe closes the breaker again."
        ),
        set_up=(
            f"One worker with two shards that share its {NUM_SCORERS} scorers: shard {SICK} is the "
            f"dependency, other callers ask shard {HEALTHY} for {HEALTHY_MS:g} ms of work every "
            f"{HEALTHY_EVERY_S * 1000:g} ms and wait at most {HEALTHY_TIMEOUT_S:g} s. The "
            f"dependency degrades after 0.5 s; five callers find out; then the {NUM_CALLERS} come; "
            "then it recovers, and 10 callers come, and 10 more. The same code makes the same "
            "calls twice: with the breaker's default settings, and with it disabled. Tasks and the "
            "memory of Python's objects (`tracemalloc`) are sampled in the calling process every "
            "20 ms."
        ),
        code=[code_of(guarded), code_of(Breaker.allow)],
        columns=("", *_MODES),
        rows=_rows(records),
    )
    refusals = [one for one in guarded_by.crowd if one.outcome == "refused"]
    slowest_ms = quantile([one.held_s for one in refusals], 0.99) * 1000
    path = [guarded_by.transitions[0].before.value] if guarded_by.transitions else []
    path += [one.after.value for one in guarded_by.transitions]
    finding.checks = [
        at_least(
            "without: the shortest time that a caller was held, relative to the degraded time",
            min(one.held_s for one in without.crowd) / degraded_s,
            0.98,
            "1 times",
            " times",
        ),
        at_least(
            "without: additional tasks during the crowd",
            without.more_tasks,
            NUM_CALLERS,
            f"{NUM_CALLERS}, and those of the healthy calls that wait",
        ),
        at_least(
            "without: additional memory during the crowd",
            without.more_memory_kb,
            NUM_CALLERS * LEAST_KB,
            "several kB a caller",
            " kB",
        ),
        at_least(
            "without: healthy calls that timed out",
            _in_vain(without),
            50,
            f"{100 * (1 - HEALTHY_TIMEOUT_S / degraded_s):.0f} %: those of the last "
            f"{HEALTHY_TIMEOUT_S:g} s of {degraded_s:g} are served after it",
            " %",
        ),
        exactly("with: failures that leave it closed", guarded_by.num_borne, 4),
        exactly(
            "with: failed calls, of the five that find out and the crowd",
            _count(guarded_by.first + guarded_by.crowd, "in vain"),
            5,
        ),
        exactly(f"with: of {NUM_CALLERS} callers refused", len(refusals), NUM_CALLERS),
        at_most("with: a refusal, 99th percentile", slowest_ms, 1.0, "some µs", " ms"),
        at_most("with: additional tasks during the crowd", guarded_by.more_tasks, 10, "0"),
        at_most(
            "with: additional memory, relative to without",
            guarded_by.more_memory_kb / without.more_memory_kb,
            0.25,
            "0 times",
            " times",
        ),
        at_most("with: healthy calls that timed out", _in_vain(guarded_by), 2, "0 %", " %"),
        at_least(
            f"healthy p99: without (a timeout counts as {HEALTHY_TIMEOUT_S:g} s), relative to with",
            min(quantile(_during(without), 0.99), HEALTHY_TIMEOUT_S)
            / quantile(_during(guarded_by), 0.99),
            5,
            "over 50 times",
            " times",
        ),
        exactly(
            "with: the breaker's states",
            " → ".join(path),
            "closed → open → half_open → closed",
        ),
        exactly(
            "with: refused beside the one probe, of the first ten calls after recovery",
            _count(guarded_by.after[0], "refused"),
            9,
        ),
        exactly("with: the next ten answered", _count(guarded_by.after[1], "answered"), 10),
    ]
    finding.plots = [
        draw(
            "breaker",
            "Over time, without and with a breaker: tasks in flight climb to a hundred or stay "
            "flat, and so does memory; healthy calls time out or take a few ms",
            lambda axes: _paint(axes, records),
            columns=3,
        ),
        draw(
            "breaker-states",
            "State diagram of the breaker, by the transitions that happened",
            lambda axes: _paint_states(axes, guarded_by.transitions),
            height_in=2.6,
        ),
    ]
    return finding


def _count(calls: Sequence[Call], outcome: str) -> int:
    return sum(call.outcome == outcome for call in calls)


def _rows(records: dict[str, Record]) -> list[Sequence[str]]:
    def row(name: str, text: Callable[[Record], str]) -> list[str]:
        return [name, *(text(record) for record in records.values())]

    return [
        row(
            "time callers were held, median",
            lambda one: _ms(quantile([call.held_s for call in one.crowd], 0.5)),
        ),
        row(
            "time callers were held, longest",
            lambda one: _ms(max(call.held_s for call in one.crowd)),
        ),
        row("additional tasks during the crowd", lambda one: str(one.more_tasks)),
        row("additional memory", lambda one: f"{one.more_memory_kb:,.0f} kB"),
        row("healthy calls during the crowd, p50", lambda one: _ms(quantile(_during(one), 0.5))),
        row("healthy calls during the crowd, p99", lambda one: _ms(quantile(_during(one), 0.99))),
        row("healthy calls that timed out", lambda one: f"{_in_vain(one):.0f} %"),
    ]


def _ms(seconds: float) -> str:
    if seconds == float("inf"):
        return "in vain"
    return f"{seconds * 1000:,.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.3f} ms"


def _paint(axes: Any, records: dict[str, Record]) -> None:
    tasks, memory, healthy = axes
    for (mode, record), color in zip(records.items(), (RED, BLUE), strict=True):
        at_s, counts, kb = zip(*record.looks, strict=True)
        tasks.plot(at_s, counts, color=color, label=mode)
        memory.plot(at_s, kb, color=color)
        met = [(at_s, took * 1000) for at_s, took in record.healthy if took < float("inf")]
        missed = [at_s for at_s, took in record.healthy if took == float("inf")]
        healthy.plot(*zip(*met, strict=True), ".", color=color, markersize=4)
        if missed:
            height = [HEALTHY_TIMEOUT_S * 1000] * len(missed)
            healthy.plot(missed, height, "x", color=color, markersize=4, label="in vain")
    tidy(tasks, "time, s", "", "tasks of the callers")
    tidy(memory, "time, s", "", "their memory, kB")
    tidy(healthy, "time, s", "", "calls that do not need it, ms")
    logarithmic(healthy.yaxis)
    legend(axes)


_PLACES = {State.CLOSED: (0.0, 0.0), State.OPEN: (2.0, 0.0), State.HALF_OPEN: (4.0, 0.0)}
_COLORS = {State.CLOSED: GREEN, State.OPEN: RED, State.HALF_OPEN: GREY}


def _paint_states(axes: Any, transitions: list[Transition]) -> None:
    """Circles for the states, and an arrow for each transition that happened."""
    axes.set_axis_off()
    axes.set_xlim(-0.7, 4.7)
    axes.set_ylim(-1.3, 1.0)
    start = transitions[0].at_s if transitions else 0.0
    for state, (x, y) in _PLACES.items():
        axes.text(
            x,
            y,
            state.value.replace("_", "-"),
            ha="center",
            va="center",
            color="white",
            bbox={"boxstyle": "round,pad=0.6", "facecolor": _COLORS[state], "edgecolor": "none"},
        )
    for one in transitions:
        if one.before not in _PLACES or one.after not in _PLACES:
            continue
        (x0, y0), (x1, y1) = _PLACES[one.before], _PLACES[one.after]
        is_back = x1 < x0
        bend = -0.35 if is_back else -0.25
        axes.annotate(
            "",
            (x1, y1),
            (x0, y0),
            arrowprops={
                "arrowstyle": "-|>",
                "color": "#444",
                "shrinkA": 32,
                "shrinkB": 32,
                "connectionstyle": f"arc3,rad={bend}",
            },
        )
        height = -1.15 if is_back else 0.55
        axes.text(
            (x0 + x1) / 2,
            height,
            f"{one.reason}\n({one.at_s - start:+.1f} s)",
            ha="center",
            va="center",
            fontsize="small",
            color="#444",
        )
