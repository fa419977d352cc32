"""The figures of a simulated scenario, as in its JSON; docs/tail.md explains each."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.simulate.run import Observed, observe
from hedgerow.gateway.simulate.scenario import Published, Run, Scenario

_PERCENTS: Final = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
_CURVE_POINTS: Final = 120
_MOST_SORTED: Final = 500_000  # replies that percentiles are taken of; more are thinned out

Report = dict[str, Any]


def simulate(
    scenario: Scenario, seed: int | None = None, on_run: Callable[[str], None] | None = None
) -> Report:
    """Run every run of a scenario.

    Args:
        scenario: the script.
        seed: seed of the random numbers; None for the scenario's own.
        on_run: called with each run's name before it begins.

    Returns:
        A JSON value; the same for the same scenario and seed.
    """
    chosen = scenario.seed if seed is None else seed
    runs = []
    for run in scenario.runs:
        if on_run is not None:
            on_run(run.name)
        runs.append(_figures(run, observe(run, chosen)))
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "source": scenario.source,
        "seed": chosen,
        "runs": runs,
        "published": [_beside(figures, runs) for figures in scenario.published],
    }


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that at least `percent` of all do not exceed (nearest rank).

    Args:
        ordered: ascending.
        percent: above 0, at most 100.

    Returns:
        None if there are no values.
    """
    if not ordered:
        return None
    # Rounded, since in floats 99.9 / 100 * 1000 is slightly more than 999.
    return ordered[max(math.ceil(round(percent / 100 * len(ordered), 6)), 1) - 1]


def figure(run: Mapping[str, Any], path: str) -> float | None:
    """Return a figure of a run's part of the report, by its path, such as `took_ms.p99`."""
    found: Any = run
    parts = path.split(".")
    while parts and isinstance(found, Mapping):
        # A key may itself contain a dot, as a mark does.
        for length in range(len(parts), 0, -1):
            key = ".".join(parts[:length])
            if key in found:
                found, parts = found[key], parts[length:]
                break
        else:
            return None
    return found if not parts and isinstance(found, int | float) else None


def _figures(run: Run, observed: Observed) -> dict[str, Any]:
    took = sorted(observed.took_ms)
    num_answered, num_refused = len(took), len(observed.refused_ms)
    fractions = sorted(observed.fractions)
    totals = observed.totals
    num_full = sum(1 for fraction in fractions if fraction >= 1)
    total = max(num_answered + num_refused + observed.num_left, 1)
    return {
        "name": run.name,
        "shards": run.shards.count,
        "replicas": run.shards.replicas,
        "queries": num_answered + num_refused + observed.num_left,
        "duration_s": _rounded(observed.duration_s),
        "answers_per_s": _rounded(num_answered / observed.duration_s),
        "took_ms": _spread(took),
        "over_ms": {
            f"{limit:g}": _rounded(sum(1 for time_ms in took if time_ms > limit) / total)
            for limit in run.over_ms
        },
        "marks_ms": {
            f"{mark:g}": _spread(sorted(time_s * 1000 for time_s in times))
            for mark, times in zip(run.marks, observed.marks_s, strict=True)
        },
        "reply_ms": _spread(
            sorted(time_s * 1000 for time_s in observed.reply_s[:: _stride(observed.reply_s)])
        ),
        "coverage": {
            "mean": _rounded(_mean(fractions)),
            "full": _rounded(num_full / total),
            "p1": _rounded(percentile(fractions, 1)),
            "min": _rounded(fractions[0] if fractions else None),
        },
        "refused": {
            "share": _rounded(num_refused / total),
            "causes": dict(sorted(observed.refusals.items())),
            **_spread(sorted(observed.refused_ms)),
        },
        "outcomes": {outcome.value: observed.outcomes[outcome] for outcome in Outcome},
        "hedges": observed.hedges,
        "callers_left": observed.num_left,
        "breakers_opened": observed.opened,
        "requests": {
            "first": totals.requests,
            "copies": totals.copies,
            "copies_started": totals.copies_started,
            "copies_share": _rounded(totals.copies / max(totals.requests, 1)),
            "expired_unstarted": totals.expired_unstarted,
            "cancelled_unstarted": totals.cancelled_unstarted,
            "stopped": totals.stopped,
            "lost": totals.lost,
            "late": observed.num_late,
        },
        "work": {
            "busy_s": _rounded(totals.busy_s),
            "busy_ms_per_query": _rounded(1000 * totals.busy_s / total),
            "utilisation": _rounded(
                totals.busy_s
                / (observed.duration_s * run.shards.count * run.shards.replicas)
                / run.shards.concurrency
            ),
            "abandoned_share": _rounded(totals.abandoned_s / totals.busy_s if totals.busy_s else 0),
        },
        "curve": _curve(took),
    }


def _spread(ordered: Sequence[float]) -> dict[str, float | None]:
    return {
        "mean": _rounded(_mean(ordered)),
        **{name: _rounded(percentile(ordered, percent)) for name, percent in _PERCENTS.items()},
        "max": _rounded(ordered[-1] if ordered else None),
    }


def _curve(ordered: Sequence[float]) -> list[list[float]]:
    """List times in ms and the share of answers that took as long or longer, spaced by its log."""
    if not ordered:
        return []
    deepest = math.log(len(ordered))
    points: dict[int, list[float]] = {}
    for step in range(_CURVE_POINTS + 1):
        slower = math.exp(-deepest * step / _CURVE_POINTS)
        rank = min(int((1 - slower) * len(ordered)), len(ordered) - 1)
        share = (len(ordered) - rank) / len(ordered)
        points[rank] = [_round_float(ordered[rank]), _round_float(share)]
    return [points[rank] for rank in sorted(points)]


def _beside(published: Published, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    run = next(found for found in runs if found["name"] == published.run)
    ours = figure(run, published.figure)
    allowed = published.tolerance
    return {
        "run": published.run,
        "figure": published.figure,
        "published": published.value,
        "ours": ours,
        "agrees": None
        if allowed is None or ours is None
        else abs(ours - published.value) <= allowed * abs(published.value),
    }


def _stride(samples: Sequence[float]) -> int:
    return len(samples) // _MOST_SORTED + 1


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else _round_float(value)


def _round_float(value: float) -> float:
    """Round to six significant digits, since the last bits are noise."""
    return float(f"{value:.6g}")
