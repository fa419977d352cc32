"""`gateway simulate`: the real policies over scripted shards, against arithmetic."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hedgerow.gateway.simulate.report import figure, percentile, simulate
from hedgerow.gateway.simulate.scenario import parse
from tests.unit.support.command_line import CommandLine

SMALL = """
title = "Four shards"
queries = 300
over_ms = [50]
marks = [0.5]
arrivals = { kind = "poisson", rate_per_s = 100 }
[query]
deadline_ms = 100
cost_sigma = 0.2
[shards]
count = 4
replicas = 2
service = { kind = "lognormal", median_ms = 8, sigma = 0.8 }
[[pauses]]
every_s = 1
lasts = { kind = "exponential", mean_ms = 50 }
[[slowdowns]]
share = 0.5
every_s = 1
lasts = { kind = "exponential", mean_ms = 100 }
factor = 4
[[crashes]]
every_s = 2
lasts = { kind = "exponential", mean_ms = 500 }
[[runs]]
name = "shared"
[[runs]]
name = "tied"
shards.queue = "tied"
[[published]]
run = "shared"
figure = "over_ms.50"
value = 0
tolerance = 0
"""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands in this process."""
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def small(tmp_path: Path) -> str:
    """Write a scenario with all kinds of faults."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return str(path)


def run_of(text: str, seed: int = 1) -> dict[str, Any]:
    """Simulate a scenario of one run."""
    only: dict[str, Any] = simulate(parse("x", text), seed)["runs"][0]
    return only


def scenario(count: int, queries: int, service: str, more: str = "", deadline_ms: int = 300) -> str:
    """Write a scenario in which one query is asked at a time."""
    return (
        f'title = "x"\nqueries = {queries}\narrivals = {{ kind = "closed", callers = 1 }}\n'
        f"{more}\n[query]\ndeadline_ms = {deadline_ms}\n"
        f"[shards]\ncount = {count}\nservice = {service}\n"
    )


@pytest.mark.parametrize(("count", "one_in", "queries"), [(40, 40, 400), (40, 200, 100)])
def test_slow_servers_make_queries_slow_as_arithmetic_says(
    count: int, one_in: int, queries: int
) -> None:
    """Of n servers that are slow one time in m, a query meets one with 1 - (1 - 1/m)^n."""
    service = (
        '{ kind = "mixture", parts = ['
        f'{{ weight = {one_in - 1}, of = {{ kind = "constant", ms = 10 }} }},'
        '{ weight = 1, of = { kind = "constant", ms = 1500 } }] }'
    )
    run = run_of(scenario(count, queries, service, "over_ms = [1000]", 60_000))
    expected = 1 - (1 - 1 / one_in) ** count
    error = math.sqrt(expected * (1 - expected) / queries)
    assert run["over_ms"]["1000"] == pytest.approx(expected, abs=3 * error)
    assert run["requests"]["first"] == count * queries


def test_the_same_seed_gives_the_same_bytes(
    command: CommandLine, small: str, tmp_path: Path
) -> None:
    """With every kind of fault, two runs of a seed are equal, and those of another seed are not."""
    texts = []
    for number, seed in enumerate(("7", "7", "8")):
        path = tmp_path / f"{number}.json"
        assert command.run("simulate", small, "--seed", seed, "--json", str(path)).code == 0
        texts.append(path.read_bytes())
    assert texts[0] == texts[1] != texts[2]
    for run in json.loads(texts[0])["runs"]:
        assert run["outcomes"]["timed_out"] > 0
        assert run["requests"]["lost"] > 0


def test_outcomes_add_up_and_figures_fit_each_other(small: str) -> None:
    """Every shard of every query ends once; shares lie in their order; curves only fall."""
    for run in simulate(parse("small", SMALL))["runs"]:
        num_refused = sum(run["refused"]["causes"].values())
        assert sum(run["outcomes"].values()) == run["shards"] * (run["queries"] - num_refused)
        assert run["refused"]["share"] == pytest.approx(num_refused / run["queries"], rel=1e-4)
        spread = run["took_ms"]
        assert spread["p50"] <= spread["p90"] <= spread["p99"] <= spread["max"] <= 100
        assert run["marks_ms"]["0.5"]["p50"] <= spread["p50"]
        shares = [share for _, share in run["curve"]]
        assert shares == sorted(shares, reverse=True)
        assert 0 <= run["work"]["abandoned_share"] < 1
        assert run["coverage"]["min"] <= run["coverage"]["p1"] <= run["coverage"]["mean"] <= 1


def test_a_hung_shard_costs_its_share_and_the_breaker_cuts_the_wait() -> None:
    """Without breakers each query waits for its deadline; with them few do, at equal coverage."""
    text = scenario(
        5,
        200,
        '{ kind = "constant", ms = 5 }',
        'different = [{ shards = [2], service = { kind = "constant", ms = 5000 } }]',
    )
    guarded, unguarded = run_of(text), run_of('breakers = "off"\n' + text)
    assert unguarded["took_ms"]["p50"] == pytest.approx(300, abs=2)
    assert guarded["took_ms"]["p50"] == pytest.approx(5, abs=0.1)
    assert guarded["outcomes"]["breaker_open"] > 150
    assert unguarded["outcomes"]["timed_out"] == 200
    assert guarded["coverage"]["mean"] == unguarded["coverage"]["mean"] == pytest.approx(0.8)


def test_late_timers_teach_the_gateway_to_stop_waiting_earlier() -> None:
    """Its first answers are late by as much as its timers; from then on it allows for that."""
    text = scenario(
        2,
        50,
        '{ kind = "constant", ms = 5 }',
        'breakers = "off"\nlate = { kind = "constant", ms = 3 }\n'
        'different = [{ shards = [1], service = { kind = "constant", ms = 5000 } }]',
    )
    run = run_of(text)
    assert run["took_ms"]["max"] == pytest.approx(302, abs=0.1)  # 1 ms is always kept
    assert run["took_ms"]["p50"] == pytest.approx(300, abs=0.1)
    assert run_of(text.replace("ms = 3 }", "ms = 0 }"))["took_ms"]["max"] == pytest.approx(299)


def test_hedges_cut_the_tail_of_a_replica_that_stalls() -> None:
    """One replica of two stalls in 2 % of its requests: a few second copies make p99 ordinary."""
    text = scenario(
        4,
        1500,
        '{ kind = "lognormal", median_ms = 10, sigma = 0.2 }\nreplicas = 2',
        "warmup = 300\n"
        'different = [{ replica = 1, service = { kind = "mixture", parts = ['
        '{ weight = 98, of = { kind = "lognormal", median_ms = 10, sigma = 0.2 } },'
        '{ weight = 2, of = { kind = "constant", ms = 250 } }] } }]',
    )
    hedged, unhedged = run_of(text), run_of("hedging = { max_extra_load = 0 }\n" + text)
    assert unhedged["hedges"]["sent"] == unhedged["requests"]["copies"] == 0
    assert unhedged["took_ms"]["p99"] == pytest.approx(250, abs=1)
    assert hedged["took_ms"]["p99"] < 80
    assert 0 < hedged["requests"]["copies_share"] <= 0.055  # the budget, and its burst
    ends = hedged["hedges"]
    assert ends["won"] > 0
    assert ends["sent"] == ends["won"] + ends["lost_before_start"] + ends["lost_while_running"]
    assert hedged["requests"]["copies"] == ends["sent"]


def test_overload_is_refused_and_the_rest_is_answered() -> None:
    """At three times what the servers can do, admission keeps answers whole; without it none is."""
    text = scenario(4, 1500, '{ kind = "exponential", mean_ms = 10 }')
    text = text.replace('kind = "closed", callers = 1', 'kind = "poisson", rate_per_s = 300')
    admitted, all_taken = run_of(text), run_of("admission = { enabled = false }\n" + text)
    assert all_taken["refused"]["share"] == 0
    assert admitted["refused"]["share"] > 0.3
    assert admitted["refused"]["p50"] == 0
    assert admitted["coverage"]["full"] > 2 * all_taken["coverage"]["full"]


def test_who_waits_for_less_waits_shorter() -> None:
    """With `wait_for` a query leaves without the slowest, whose work is cancelled."""
    text = scenario(
        20,
        200,
        '{ kind = "mixture", parts = [{ weight = 98, of = { kind = "constant", ms = 10 } },'
        '{ weight = 2, of = { kind = "constant", ms = 250 } }] }',
    )
    all_of_it = run_of(text)
    most_of_it = run_of(
        "coverage = { max_wait_after_coverage_factor = 0.1 }\n"
        + text.replace("[query]", "[query]\nwait_for = 0.9")
    )
    assert all_of_it["took_ms"]["p90"] == pytest.approx(250, abs=1)
    assert most_of_it["took_ms"]["p90"] < 50
    assert most_of_it["outcomes"]["cancelled"] > 0
    assert most_of_it["coverage"]["min"] >= 0.9


def test_a_shard_without_servers_is_unavailable_once_it_is_missed() -> None:
    """After its heartbeat has expired, no query waits for it; after its restart, it answers."""
    run = run_of(
        scenario(
            2,
            100,
            '{ kind = "constant", ms = 100 }',
            "heartbeat_expiry_s = 0.5\n"
            "crashes = [{ shards = [1], at_s = 1.0, "
            'lasts = { kind = "constant", ms = 3000 } }]\n'
            'breakers = "off"\n',
        )
    )
    # Missed from 1.5 s to 4 s, a query in 0.1 s; before that, one in 0.3 s times out.
    assert run["outcomes"]["unavailable"] == pytest.approx(25, abs=2)
    assert run["outcomes"]["timed_out"] == pytest.approx(2, abs=1)
    assert run["coverage"]["mean"] == pytest.approx(1 - 0.5 * 0.27, abs=0.02)


def test_winners_are_fetched_when_fields_are_wanted() -> None:
    """A fetch comes on top of the search: constant times add up."""
    text = scenario(3, 20, '{ kind = "constant", ms = 10 }')
    text = text.replace("[query]", 'fetch = { kind = "constant", ms = 4 }\n[query]\nfields = true')
    assert run_of(text)["took_ms"]["p50"] == pytest.approx(14, abs=0.01)


def test_callers_who_hang_up_leave_no_answer_and_abandoned_work() -> None:
    """Callers who leave are counted apart, and the work done for them was wasted."""
    text = scenario(4, 400, '{ kind = "constant", ms = 10 }')
    text = text.replace(
        "[query]", '[query]\nhang_up = 0.3\nhang_up_after = { kind = "constant", ms = 5 }'
    )
    run = run_of(text)
    assert run["callers_left"] == pytest.approx(120, abs=30)
    assert sum(run["outcomes"].values()) == 4 * (400 - run["callers_left"])
    assert run["work"]["abandoned_share"] > 0


def test_what_nobody_waits_for_is_cancelled() -> None:
    """When all callers leave at once, what they asked for is taken back or stopped, not worked off.

    Else 30 queries would keep the one server busy for 30 s.
    """
    text = scenario(1, 30, '{ kind = "constant", ms = 1000 }', deadline_ms=50_000)
    text = text.replace('kind = "closed", callers = 1', 'kind = "constant", rate_per_s = 1000')
    text = text.replace("[query]", "[query]\nhang_up = 1")
    run = run_of(text)
    assert run["callers_left"] == 30
    assert run["requests"]["cancelled_unstarted"] >= 25
    assert run["work"]["busy_s"] <= 0.1


def test_shares_over_a_limit_are_of_all_queries() -> None:
    """Of answers that all take 10 ms, all are over 9 ms and none is over 11."""
    run = run_of(scenario(2, 20, '{ kind = "constant", ms = 10 }', "over_ms = [9, 11]"))
    assert run["over_ms"] == {"9": 1, "11": 0}


def test_warm_up_is_not_counted() -> None:
    """Queries before the counted ones are asked, and leave no figures."""
    run = run_of(scenario(2, 50, '{ kind = "constant", ms = 10 }', "warmup = 30"))
    assert (run["queries"], run["requests"]["first"]) == (50, 160)


def test_percentiles_are_nearest_rank() -> None:
    """The least value that at least this percentage does not exceed; None for no values."""
    values = [float(one) for one in range(1, 1001)]
    assert [percentile(values, one) for one in (0.1, 50, 99, 99.9, 100)] == [1, 500, 990, 999, 1000]
    assert percentile([], 50) is None


def test_figures_are_found_by_their_path() -> None:
    """A figure is found even if a key has a dot of its own; without such a figure, it is None."""
    run = {"marks_ms": {"0.95": {"p99": 3.0}}, "name": "x"}
    assert figure(run, "marks_ms.0.95.p99") == 3.0
    assert figure(run, "marks_ms.0.9.p99") is None
    assert figure(run, "name") is None


def test_the_summary_shows_runs_and_published_figures(command: CommandLine, small: str) -> None:
    """Each run is a line, and a published figure that ours is not near is marked."""
    ended = command.run("simulate", small)
    assert ended.code == 0
    assert "Four shards" in ended.out
    assert [line.split()[0] for line in ended.out.splitlines()[2:4]] == ["shared", "tied"]
    assert "DIFFERS" in ended.out


def test_shipped_scenarios_are_listed(command: CommandLine) -> None:
    """`--list` names each, and runs none."""
    ended = command.run("simulate", "--list")
    assert ended.code == 0
    assert "4-tied-requests" in ended.out


def test_misuse_is_one_line(command: CommandLine, tmp_path: Path) -> None:
    """Without a scenario that is valid and a file that can be written, one line says why: 2."""
    path = tmp_path / "bad.toml"
    path.write_text(SMALL.replace("queries = 300", "queries = -1"), encoding="utf-8")
    nowhere = str(tmp_path / "nowhere" / "x.json")
    for arguments, word in (
        ((), "--list"),
        (("nowhere",), "nowhere"),
        ((str(path),), "queries"),
        (("5-cascade", "--json", nowhere), "--json"),
    ):
        ended = command.run("simulate", *arguments)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert word in ended.err


def test_a_plot_is_svg_and_the_same_each_time(
    command: CommandLine, small: str, tmp_path: Path
) -> None:
    """The picture names each run, and equal figures give equal bytes."""
    pytest.importorskip("matplotlib")
    Path(small).write_text(SMALL.replace("queries = 300", "queries = 60"), encoding="utf-8")
    pictures = []
    for number in range(2):
        path = tmp_path / f"{number}.svg"
        assert command.run("simulate", small, "--plot", str(path)).code == 0
        pictures.append(path.read_text(encoding="utf-8"))
    assert pictures[0] == pictures[1]
    assert "<svg" in pictures[0]
    assert all(f">{name}<" in pictures[0] for name in ("shared", "tied"))
