"""`gateway alias`, down to the HTTP routes."""

import json

import pytest

from hedgerow.common.errors import NotFoundError
from tests.unit.support.command_line import CommandLine


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway with two aliases."""
    command = CommandLine(monkeypatch, capsys)
    command.gateway.aliases.there = {"movies": "films-1", "archive": "films-0"}
    return command


@pytest.mark.parametrize("arguments", [[], ["list"]])
def test_aliases_are_listed(command: CommandLine, arguments: list[str]) -> None:
    """They are listed by name, with the subcommand and without any."""
    ended = command.run("alias", *arguments)
    assert (ended.code, ended.err) == (0, "")
    assert "archive films-0 movies films-1" in " ".join(ended.out.split())


def test_the_list_is_printed_as_json(command: CommandLine) -> None:
    """The gateway's answer is printed as it is."""
    aliases = json.loads(command.run("alias", "list", "--json").out)["aliases"]
    assert aliases[1] == {"alias": "movies", "collection": "films-1"}
    command.gateway.aliases.there = {}
    assert command.run("alias").out == "there are no aliases\n"


def test_several_are_set_in_one_request(command: CommandLine) -> None:
    """The gateway gets all changes together, so that it makes all or none."""
    ended = command.run("alias", "set", "movies=films-2", "archive=films-1")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "movies now stands for films-2\narchive now stands for films-1\n"
    assert command.gateway.aliases.there == {"movies": "films-2", "archive": "films-1"}
    assert len(command.requests) == 1


def test_they_are_removed(command: CommandLine) -> None:
    """The collections stay."""
    ended = command.run("alias", "remove", "movies", "archive")
    assert (ended.code, ended.out) == (0, "movies is removed\narchive is removed\n")
    assert command.gateway.aliases.there == {}


@pytest.mark.parametrize("pair", ["movies", "movies=", "=films", "movies=a movies=b"])
def test_what_is_no_pair_is_wrong_usage(command: CommandLine, pair: str) -> None:
    """It names the fault, and nothing is sent."""
    ended = command.run("alias", "set", *pair.split())
    assert ended.code == 2
    assert "movies" in ended.err or "films" in ended.err
    assert command.requests == []


def test_a_refusal_is_one_line(command: CommandLine) -> None:
    """What the gateway refuses is said in its words."""
    command.gateway.aliases.error = NotFoundError("there is no collection 'films-9'")
    ended = command.run("alias", "set", "movies=films-9")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "gateway: there is no collection 'films-9'\n"
