"""Scenarios: what they may say, and that each error names the member and the reason."""

import math
import random
import re
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

import pytest
from pydantic import TypeAdapter

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.simulate.distributions import Distribution, Sampler
from hedgerow.gateway.simulate.scenario import load, parse, shipped

WELL = """
title = "t"
queries = 10
arrivals = { kind = "closed", callers = 1 }
[shards]
count = 4
replicas = 2
service = { kind = "constant", ms = 5 }
"""


def sampler_of(**members: Any) -> Sampler:
    """Validate a distribution, and draw from it."""
    adapter: TypeAdapter[Distribution] = TypeAdapter(Distribution)
    return adapter.validate_python(members).sampler(random.Random(3))


@pytest.mark.parametrize("name", shipped())
def test_shipped_scenarios_can_be_run(name: str) -> None:
    """Each is read without an error, and says what it is and where it is from."""
    scenario = load(name)
    assert scenario.title
    assert scenario.name == name


def test_runs_are_laid_over_what_they_share() -> None:
    """A run changes what it names, also within a table, and leaves the rest."""
    scenario = parse(
        "x",
        WELL
        + """
[[runs]]
name = "a"
[[runs]]
name = "b"
queries = 20
shards.count = 8
shards.service = { kind = "exponential", mean_ms = 2 }
""",
    )
    first, second = scenario.runs
    assert (first.queries, second.queries) == (10, 20)
    assert (first.shards.count, second.shards.count) == (4, 8)
    assert second.shards.replicas == 2
    assert (first.shards.service.kind, second.shards.service.kind) == ("constant", "exponential")


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ("title = ", "scenario", "not TOML"),
        (WELL.replace("queries = 10", "queries = 0"), "queries", "greater than 0"),
        (WELL.replace("queries = 10", "querys = 10"), "querys", "not a known member"),
        (WELL.replace("count = 4", "count = 4\nreplikas = 2"), "replikas", "not a known member"),
        (WELL.replace('title = "t"', ""), "title", "required"),
        (WELL.replace("[shards]", "[[shards]]"), "shards", "dictionary"),
        (WELL.replace("ms = 5", "ms = -5"), "shards.service.constant.ms", "greater than or equal"),
        (WELL.replace("ms = 5", "ms = nan"), "shards.service.constant.ms", "finite"),
        (WELL.replace("constant", "konstant"), "shards.service", "konstant"),
        (WELL + "\n[[different]]\nshards = [4]\n", "scenario", "shard 4"),
        (WELL + "\n[[different]]\nreplica = 2\n", "scenario", "replica 2"),
        (WELL + 'queue = "tide"\n', "shards.queue", "shared"),
        (WELL.replace("replicas = 2", 'queue = "tied"'), "shards", "replicas = 2"),
        (WELL + '\n[[runs]]\nname = "a"\n[[runs]]\nname = "a"\n', "runs", "a different name"),
        ("runs = 3\n" + WELL, "runs", "array of tables"),
        (
            WELL + '\n[[published]]\nrun = "z"\nfigure = "took_ms.p99"\nvalue = 1\n',
            "scenario",
            "no run 'z'",
        ),
        (WELL + "\n[breaker]\nconsecutive_failures = 0\n", "breaker.consecutive", "greater than 0"),
    ],
)
def test_errors_name_the_member_and_the_reason(text: str, field: str, reason: str) -> None:
    """Whatever cannot be used is refused before anything is simulated."""
    with pytest.raises(BadRequestError) as raised:
        parse("x", text)
    assert field in raised.value.field
    assert reason in raised.value.reason


def test_the_documented_scenario_can_be_run() -> None:
    """The example of docs/tail.md is valid, and differs where it says so."""
    text = (Path(__file__).parents[4] / "docs" / "tail.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    scenarios = [parse("example", one) for one in examples]
    assert [run.shards.replicas for run in scenarios[0].runs] == [2, 4]


def test_every_shipped_scenario_is_documented() -> None:
    """docs/tail.md says how to repeat each."""
    text = (Path(__file__).parents[4] / "docs" / "tail.md").read_text(encoding="utf-8")
    assert [name for name in shipped() if f"gateway simulate {name}`" not in text] == []


def test_a_scenario_that_is_not_there_is_told_with_those_that_are() -> None:
    """The error of a wrong name lists the shipped scenarios."""
    with pytest.raises(BadRequestError, match=shipped()[0]):
        load("no-such-scenario")


@pytest.mark.parametrize(
    ("members", "mean_s"),
    [
        ({"kind": "constant", "ms": 7}, 0.007),
        ({"kind": "uniform", "low_ms": 2, "high_ms": 6}, 0.004),
        ({"kind": "exponential", "mean_ms": 9, "offset_ms": 1}, 0.010),
        # The mean of a lognormal is its median times exp(sigma² / 2).
        ({"kind": "lognormal", "median_ms": 10, "sigma": 0.5}, 0.010 * math.exp(0.125)),
        (
            {
                "kind": "mixture",
                "parts": [
                    {"weight": 3, "of": {"kind": "constant", "ms": 1}},
                    {"weight": 1, "of": {"kind": "constant", "ms": 9}},
                ],
            },
            0.003,
        ),
        (
            {
                "kind": "sum",
                "parts": [
                    {"kind": "constant", "ms": 1},
                    {"kind": "exponential", "mean_ms": 2},
                ],
            },
            0.003,
        ),
        # E[min(X, m)] of an exponential is its mean times 1 - exp(-m / mean).
        (
            {"kind": "capped", "most_ms": 5, "of": {"kind": "exponential", "mean_ms": 5}},
            0.005 * (1 - math.exp(-1)),
        ),
    ],
)
def test_distributions_have_the_means_of_theory(members: dict[str, Any], mean_s: float) -> None:
    """The mean of many draws is the one that follows from the parameters."""
    draw = sampler_of(**members)
    assert fmean(draw() for _ in range(40_000)) == pytest.approx(mean_s, rel=0.03)


def test_quantiles_are_met() -> None:
    """Draws by quantiles have these quantiles, and between two points a Pareto tail."""
    draw = sampler_of(kind="quantiles", ms={"50": 1, "95": 5, "99": 10})
    found = quantiles([draw() * 1000 for _ in range(100_000)], n=1000, method="inclusive")
    assert [found[499], found[949], found[989]] == pytest.approx([1, 5, 10], rel=0.06)
    # Share of larger ones falls from 5 % to 1 % as values double: at the middle of both, in logs.
    assert found[1000 - 22 - 1] == pytest.approx(math.sqrt(50), rel=0.06)


@pytest.mark.parametrize(
    ("ms", "reason"),
    [
        ({"50": 1}, "two percentiles"),
        ({"50": 1, "40": 2}, "must rise"),
        ({"50": 2, "90": 1}, "must not fall"),
        ({"50": 1, "100": 2}, "below 100"),
        ({"fifty": 1, "90": 2}, "not a percentile"),
    ],
)
def test_quantiles_that_make_no_sense_are_refused(ms: dict[str, float], reason: str) -> None:
    """Each bad scenario with what is wrong about it."""
    with pytest.raises(ValueError, match=reason):
        sampler_of(kind="quantiles", ms=ms)
