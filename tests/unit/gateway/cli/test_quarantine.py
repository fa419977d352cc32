"""`gateway quarantine list|lift`, down to the HTTP routes."""

import json
from datetime import datetime
from typing import Any

import pytest

from hedgerow.common.errors import UnavailableError
from tests.unit.support.command_line import CommandLine

UNTIL = datetime(2026, 1, 2, 12, 34, 56).astimezone()  # local time, as it is shown


def entry(fingerprint: str, **changes: Any) -> dict[str, Any]:
    """A query that has killed two scorers."""
    return {
        "fingerprint": fingerprint,
        "query": "names: evil [bold]query\x1b[2J",
        "kills": 2,
        "refused": True,
        "until_ms": int(UNTIL.timestamp() * 1000),
        "workers": ["w-a", "w-b"],
        **changes,
    }


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway with one query refused and one suspect."""
    command = CommandLine(monkeypatch, capsys)
    command.gateway.quarantine.entries = [entry("ab12"), entry("cd34", kills=1, refused=False)]
    return command


def test_the_list_says_who_killed_whom_and_until_when(command: CommandLine) -> None:
    """Query, kills, state, expiry, fingerprint and workers; control characters are tamed."""
    ended = command.run("quarantine", "list")
    assert (ended.code, ended.err) == (0, "")
    assert all(len(line) <= 80 for line in ended.out.splitlines())
    words = " ".join(ended.out.split())
    for expected in ("evil", "[bold]query", "12:34:56", "ab12", "cd34", "w-a", "refused"):
        assert expected in words, expected
    assert words.count("suspect") == 1
    assert "\x1b" not in ended.out


def test_json_is_the_list_as_it_is(command: CommandLine) -> None:
    """--json prints the entries."""
    ended = command.run("quarantine", "list", "--json")
    assert json.loads(ended.out) == command.gateway.quarantine.entries


def test_an_empty_list_is_said(command: CommandLine) -> None:
    """An empty list is shown as a sentence, not as nothing."""
    command.gateway.quarantine.entries = []
    assert command.run("quarantine", "list").out == "no query has killed a scorer\n"


def test_a_lift_takes_one_entry_out(command: CommandLine) -> None:
    """It is gone, the other stays; a second lift says that there is no such query."""
    ended = command.run("quarantine", "lift", "ab12")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert [one["fingerprint"] for one in command.gateway.quarantine.entries] == ["cd34"]
    again = command.run("quarantine", "lift", "ab12")
    assert (again.code, again.err.count("\n")) == (1, 1)
    assert "'ab12'" in again.err


def test_redis_away_is_an_error(command: CommandLine) -> None:
    """The list lies in Redis: without it there is none, and no empty one is shown."""
    command.gateway.quarantine.error = UnavailableError("Redis does not answer")
    ended = command.run("quarantine", "list")
    assert (ended.code, ended.out) == (1, "")
    assert "Redis does not answer" in ended.err


def test_a_group_without_a_command_is_misuse(command: CommandLine) -> None:
    """`gateway quarantine` alone says what there is."""
    ended = command.run("quarantine")
    assert ended.code == 2
    assert "lift" in ended.out + ended.err
