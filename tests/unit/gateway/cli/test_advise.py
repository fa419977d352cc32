"""`gateway advise`: what it asks to be measured, what it prints, and how it ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hedgerow.gateway.advise.bench import Plan
from hedgerow.gateway.advise.figures import Figures, Kind
from hedgerow.gateway.cli import advise
from tests.unit.support.advice import figures, waiting
from tests.unit.support.command_line import CommandLine


class Measured:
    """Stands in for the measurement: notes what is asked, and returns prepared figures."""

    def __init__(self) -> None:
        self.figures = figures()
        self.plans: list[Plan] = []

    def __call__(self, plan: Plan, say: Callable[[str], None]) -> Figures:
        """Note the plan."""
        say("alone")
        self.plans.append(plan)
        return self.figures


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Measured:
    """No process is started; settings come from the folder's `hedgerow.toml` alone."""
    for name in ("HEDGEROW_CONFIG", "HEDGEROW_GATEWAY__DEFAULT_DEADLINE_MS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    found = Measured()
    monkeypatch.setattr(advise, "measure", found)
    return found


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands."""
    return CommandLine(monkeypatch, capsys)


@pytest.mark.parametrize(("lane", "code"), [("process", 0), ("thread", 4), ("loop", 4)])
def test_another_lane_than_the_advice_ends_with_4(
    command: CommandLine, measured: Measured, lane: str, code: int
) -> None:
    """Exit code 4 and a line that says which lane and why; 0 when it is the same."""
    ended = command.run("advise", "mine:function", "--sample", "s.jsonl", "--lane", lane)
    assert ended.code == code
    assert "the lane            process, because it uses CPU" in ended.out
    assert (f"advised against: {lane}; process, because it uses CPU" in ended.err) is bool(code)


def test_without_a_lane_any_advice_is_fine(command: CommandLine, measured: Measured) -> None:
    """Exit code 0, with the four questions and what there is to paste."""
    ended = command.run("advise", "mine:function", "--sample", "s.jsonl")
    assert ended.code == 0
    for question in ("I/O or CPU?", "async or blocking?", "at what scale?", "how does it fail?"):
        assert question in ended.out
    compile(ended.out[ended.out.index("import asyncio") :], "pasted", "exec")


def test_json_has_figures_and_advice(command: CommandLine, measured: Measured) -> None:
    """Standard output is one JSON object, also when the lane is advised against."""
    measured.figures = waiting()
    ended = command.run(
        "advise", "mine:function", "--sample", "s.jsonl", "--json", "--lane", "process"
    )
    said: dict[str, Any] = json.loads(ended.out)
    assert ended.code == 4
    assert (said["advice"]["lane"], said["advice"]["work"]) == ("thread", "I/O")
    assert said["figures"]["alone"]["call_s"] == 0.02
    assert said["figures"]["subject"]["kind"] == "function"
    assert [one["short"] for one in said["answers"]][:2] == ["I/O", "blocking"]
    assert said["machine"]["deadline_s"] == 0.3
    assert said["settings_language"] == "python"
    # One core alone could have 100 such calls under way, which is over the 32 of the advice.
    assert "ThreadPoolExecutor(32)" in said["settings"]


def test_options_say_what_to_measure(command: CommandLine, measured: Measured) -> None:
    """Kind, query, documents, deadline, time and limit reach the measurement, in s."""
    command.run(
        "advise",
        "mine:score",
        "--sample",
        "docs.jsonl",
        "--as",
        "second_phase",
        "--query",
        "desk",
        "--documents",
        "40",
        "--deadline",
        "200ms",
        "--time",
        "4s",
        "--limit",
        "1.5s",
    )
    (plan,) = measured.plans
    assert (plan.reference, plan.samples, plan.kind) == (
        "mine:score",
        Path("docs.jsonl"),
        Kind.SECOND_PHASE,
    )
    assert (plan.query, plan.num_documents) == ("desk", 40)
    assert (plan.budget_s, plan.time_s, plan.limit_s) == (0.2, 4.0, 1.5)


def test_a_rank_profile_tells_how_a_function_is_called(
    command: CommandLine, measured: Measured, tmp_path: Path
) -> None:
    """What the settings name as second phase or enrich is called so, with their deadline."""
    (tmp_path / "hedgerow.toml").write_text(
        "[gateway]\ndefault_deadline_ms = 500\n"
        '[rank_profiles.a]\nsecond_phase = "mine:rate"\ncandidates = 30\n'
        '[rank_profiles.b]\nenrich = "mine:prices"\n'
    )
    for function in ("mine:rate", "mine:prices", "mine:other"):
        command.run("advise", function, "--sample", "docs.jsonl", "--query", "q")
    assert [(one.kind, one.num_documents, one.budget_s) for one in measured.plans] == [
        (Kind.SECOND_PHASE, 30, 0.5),
        (Kind.ENRICH, None, 0.5),
        (None, None, 0.5),
    ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("mine:function",), "--sample"),
        (("mine", "--sample", "s.jsonl"), "'mine' is not of the form module:function"),
        ((":f", "--sample", "s.jsonl"), "is not of the form module:function"),
        (("mine:f", "--sample", "s.jsonl", "--lane", "fibre"), "--lane"),
        (("mine:f", "--sample", "s.jsonl", "--time", "long"), "is not a duration"),
        (("mine:f", "--sample", "s.jsonl", "--documents", "0"), "--documents"),
    ],
)
def test_misuse_ends_with_2(
    command: CommandLine, measured: Measured, arguments: tuple[str, ...], reason: str
) -> None:
    """A command line that makes no sense is refused before anything is measured."""
    ended = command.run("advise", *arguments)
    assert ended.code == 2
    assert reason in ended.err
    assert measured.plans == []
