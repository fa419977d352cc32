"""`gateway plan`: what it reads, and what it prints."""

import json

import pytest

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.cli.options import parse_number
from tests.unit.support.command_line import CommandLine

EXAMPLE = (
    *("plan", "--documents", "100M", "--qps", "5k"),
    *("--deadline", "200ms", "--replicas", "3"),
)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands; this one connects to nothing."""
    return CommandLine(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("text", "number"),
    [("250", 250), ("1.5k", 1500), ("100M", 1e8), ("2G", 2e9), ("1,000", 1000), (" .5 ", 0.5)],
)
def test_numbers_with_units_are_read(text: str, number: float) -> None:
    """k, M and G are thousands, millions and thousands of millions."""
    assert parse_number("n", text) == number


@pytest.mark.parametrize("text", ["", "k", "1 k", "-5", "1e6", "nan", "inf", "1K", "1kk", "0x10"])
def test_what_is_no_number_is_refused(text: str) -> None:
    """Other notations are errors that name the input."""
    with pytest.raises(BadRequestError, match=r"^n: .* is not a number such as"):
        parse_number("n", text)


def test_a_plan_is_a_table_with_its_assumptions_and_limits(command: CommandLine) -> None:
    """It shows what is needed, what that assumes, and what bounds it."""
    ended = command.run(*EXAMPLE)
    assert ended.code == 0
    for words in ("Redis servers", "gateways", "workers", "search-used.md", "- Tail: ", "--cores"):
        assert words in ended.out


def test_json_has_the_same_for_programs(command: CommandLine) -> None:
    """Standard output is one JSON object, with inputs, plan, assumptions and limits."""
    said = json.loads(command.run(*EXAMPLE, "--json").out)
    assert set(said) == {"inputs", "plan", "assumptions", "limits"}
    assert (said["inputs"]["documents"], said["inputs"]["qps"]) == (1e8, 5000)
    assert said["plan"]["copies"] >= 3
    assert said["plan"]["cpu"]["gateway"] > 0


def test_the_log_is_shown_where_there_are_writes(command: CommandLine) -> None:
    """Traffic of the logs is a row of plans with writes alone."""
    assert "to the replicas" not in command.run(*EXAMPLE).out
    assert "to the replicas" in command.run(*EXAMPLE, "--writes", "1k").out


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("--documents", "0"), "--documents"),
        (("--qps", "many"), "--qps"),
        (("--deadline", "1h"), "--deadline"),
        (("--deadline", "2ms"), "--deadline"),
        (("--ranking", "1s"), "--deadline"),
        (("--ranking", "slow"), "--ranking"),
        (("--utilisation", "60"), "--utilisation"),
        (("--document-bytes", "0"), "--document-bytes"),
        (("--shards", "1"), "--shards"),
    ],
)
def test_an_error_names_the_option(
    command: CommandLine, arguments: tuple[str, str], option: str
) -> None:
    """Nonsense is misuse (exit code 2), in one line that names the option."""
    ended = command.run(*EXAMPLE, *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"gateway: {option}: ")
    assert ended.err.count("\n") == 1
