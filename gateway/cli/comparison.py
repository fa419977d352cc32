"""The figures of several rankings side by side, with what chance says of their differences."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from hedgerow.gateway.cli.significance import NUM_ASSIGNMENTS, holm, p_value
from hedgerow.gateway.cli.systems import Evaluated

TESTED: Final = "nDCG@10"  # the measure whose differences are tested
TEST: Final = (
    f"paired randomisation of {TESTED}, two-sided, {NUM_ASSIGNMENTS} assignments; adjusted by Holm"
)
_ROUND: Final = 6


def comparison(evaluated: Sequence[Evaluated]) -> dict[str, Any]:
    """What `--json` prints of several rankings; the first is the baseline of the others."""
    baseline, others = evaluated[0], evaluated[1:]
    differences = {one.system.name: _differences(baseline, one) for one in others}
    p_values = {name: p_value(values) for name, values in differences.items()}
    adjusted = holm(p_values)
    return {
        "systems": {
            one.system.name: {"partial": one.num_partial, "measures": one.measures}
            for one in evaluated
        },
        "baseline": baseline.system.name,
        "test": TEST,
        "comparisons": [
            {
                "system": name,
                "difference": round(sum(values) / len(values), _ROUND),
                "better": sum(value > 0 for value in values),
                "worse": sum(value < 0 for value in values),
                "equal": sum(value == 0 for value in values),
                "p": round(p_values[name], _ROUND),
                "p_adjusted": round(adjusted[name], _ROUND),
            }
            for name, values in differences.items()
        ],
    }


def _differences(baseline: Evaluated, other: Evaluated) -> list[float]:
    """For each query, by how much a ranking is better than the baseline."""
    return [
        measures[TESTED] - baseline.by_query[query][TESTED]
        for query, measures in other.by_query.items()
    ]


def lines_of(figures: Mapping[str, Any]) -> Iterator[str]:
    """The comparison as lines for people."""
    systems: Mapping[str, Any] = figures["systems"]
    width = max(8, *map(len, systems)) + 2
    yield " " * 12 + "".join(f"{name:>{width}}" for name in systems)
    for measure in next(iter(systems.values()))["measures"]:
        values = (system["measures"][measure] for system in systems.values())
        yield f"{measure:<12}" + "".join(f"{value:>{width}.4f}" for value in values)
    yield ""
    yield f"{TESTED} against {figures['baseline']} ({figures['test']}):"
    for one in figures["comparisons"]:
        yield (
            f"{one['system']:<12} {one['difference']:+.4f}  better {one['better']}, "
            f"worse {one['worse']}, equal {one['equal']}; p = {_shown(one['p'])}, "
            f"adjusted {_shown(one['p_adjusted'])}"
        )


def _shown(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"


def query_lines(evaluated: Sequence[Evaluated], texts: Mapping[str, str]) -> Iterator[str]:
    """One line of JSON for each query: its text, and the measures and the hits of each ranking."""
    rankings = {
        one.system.name: {ranking.query_id: ranking for ranking in one.rankings}
        for one in evaluated
    }
    for query in evaluated[0].by_query:
        yield json.dumps(
            {
                "query_id": query,
                "text": texts[query],
                "systems": {
                    one.system.name: {
                        "measures": one.by_query[query],
                        "is_full": rankings[one.system.name][query].is_full,
                        "hits": rankings[one.system.name][query].document_ids[:10],
                    }
                    for one in evaluated
                },
            },
            ensure_ascii=False,
        )
