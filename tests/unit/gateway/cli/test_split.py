"""`gateway split`, down to the HTTP routes."""

import json

import pytest

from hedgerow.common.errors import ConflictError
from hedgerow.gateway.cli import patience, split
from tests.unit.support.command_line import CommandLine


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway of four shards; they do not wait between looks."""
    monkeypatch.setattr(split, "POLL_S", 0.0)
    return CommandLine(monkeypatch, capsys)


def test_a_split_ends_when_the_new_shards_serve(command: CommandLine) -> None:
    """It says how many shards there are, and how long writes waited."""
    ended = command.run("split")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "8 shards",
        "the last split, from 4 to 8, took 2.5 s; writes waited for 0.5 s",
    ]


def test_the_state_is_shown_without_a_change(command: CommandLine) -> None:
    """With --status, as text or as JSON."""
    assert command.run("split", "--status").out == "4 shards\n"
    command.gateway.splits.states = ["copying", "copying"]
    assert command.run("split", "--status").out.splitlines() == [
        "4 shards",
        "4 to 8 shards: copying, 3 of 4 old ones copied or left to clones; waits for the copies",
    ]
    found = json.loads(command.run("split", "--status", "--json").out)
    assert found["split"]["state"] == "copying"


def test_a_split_is_cancelled(command: CommandLine) -> None:
    """It ends when the new shards are removed."""
    ended = command.run("split", "--cancel")
    assert ended.code == 0
    assert "was given up after 2.5 s: it was cancelled" in ended.out


def test_a_refused_split_says_why(command: CommandLine) -> None:
    """In one line, with status 1."""
    command.gateway.splits.refusal = ConflictError("the shards of w0 are pinned")
    ended = command.run("split")
    assert ended.code == 1
    assert "the shards of w0 are pinned" in ended.err


def test_a_split_that_fails_says_why(command: CommandLine) -> None:
    """With status 1, since the number of shards is as before."""
    command.gateway.splits.error = "a log was trimmed"
    ended = command.run("split")
    assert ended.code == 1
    assert "a log was trimmed" in ended.out


def test_a_split_outlasts_the_commands_patience(command: CommandLine) -> None:
    """After --timeout, the command ends with an error, and the split goes on."""
    ended = command.run("split", "--timeout", "0s")
    assert ended.code == 1
    assert "the split goes on" in ended.err


@pytest.mark.parametrize("silence_s", [60.0, 0.0])
def test_a_split_outlasts_a_gateway_that_is_away(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch, silence_s: float
) -> None:
    """A 503 on the way is waited out for a minute; then the error says that the split goes on."""
    monkeypatch.setattr(patience, "SILENCE_S", silence_s)
    command.fail_one_look("no Redis")
    ended = command.run("split")
    if silence_s:
        assert (ended.code, ended.out.splitlines()[0]) == (0, "8 shards")
    else:
        assert (ended.code, ended.err) == (1, "gateway: no Redis; the split goes on\n")
