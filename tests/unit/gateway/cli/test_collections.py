"""`gateway collections`, down to the HTTP routes."""

import json
from typing import Any

import pytest

from hedgerow.common.errors import NotFoundError
from hedgerow.gateway.cli.main import app
from tests.unit.support.command_line import CommandLine

FIELDS = {"title": {"type": "text", "weight": 3}, "year": "integer"}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway with one collection."""
    command = CommandLine(monkeypatch, capsys)
    command.gateway.collections.defined = {"films": {"fields": dict(FIELDS)}}
    return command


@pytest.mark.parametrize("arguments", [[], ["list"]])
def test_collections_are_listed(command: CommandLine, arguments: list[str]) -> None:
    """They are listed with the subcommand, and without any."""
    ended = command.run("collections", *arguments)
    assert (ended.code, ended.err) == (0, "")
    words = " ".join(ended.out.split())
    assert "films 3 bm25 english title, year" in words


def test_the_list_is_printed_as_json(command: CommandLine) -> None:
    """An option belongs to the list if no subcommand is named."""
    ended = command.run("collections", "--json")
    assert [one["name"] for one in json.loads(ended.out)["collections"]] == ["films"]


def test_an_empty_list_is_said(command: CommandLine) -> None:
    """If there are no collections, the command says so."""
    command.gateway.collections.defined = {}
    assert command.run("collections").out == "there are no collections\n"


def test_help_lists_the_subcommands(command: CommandLine) -> None:
    """It is asked for by name."""
    ended = command.run("collections", "--help")
    assert ended.code == 0
    assert all(name in ended.out for name in ("list", "describe", "add-field"))


def test_documents_expire_by_a_field(command: CommandLine) -> None:
    """It is set, shown and ended; both at once is wrong usage."""
    fields = command.gateway.expiry.fields
    ended = command.run("collections", "expire", "films", "day")
    assert (ended.code, ended.out) == (0, "films: documents expire at the date in day\n")
    assert fields == {"films": "day"}
    assert command.run("collections", "expire", "films").out == ended.out
    ended = command.run("collections", "expire", "films", "--never")
    assert (ended.code, ended.out) == (0, "films: documents never expire\n")
    assert fields == {}
    assert command.run("collections", "expire", "films", "day", "--never").code == 2


def test_a_collection_is_described(command: CommandLine) -> None:
    """Documents by shard, and the fields with type, weight and where the type is from."""
    ended = command.run("collections", "describe", "films")
    assert (ended.code, ended.err) == (0, "")
    words = " ".join(ended.out.split())
    assert "films: 3 documents in 2 shards (1, 2); rank profile bm25, language english" in words
    assert "title text 3 definition" in words
    assert "year integer definition" in words
    described = json.loads(command.run("collections", "describe", "films", "--json").out)
    assert described["fields"] == FIELDS


def test_a_collection_that_is_being_filled_says_how_far_it_is(command: CommandLine) -> None:
    """The fields, the share of the documents, and the replicas that are not done."""
    collections = command.gateway.collections
    describe = collections.describe

    async def filling(name: str) -> dict[str, Any]:
        progress = {"fields": ["year"], "share": 0.4, "waiting": 1}
        return {**await describe(name), "filling": progress}

    collections.describe = filling  # type: ignore[method-assign] # a script
    ended = command.run("collections", "describe", "films")
    assert "being filled: year; 40.0 % of the documents, 1 replica to go\n" in ended.out


def test_what_is_piped_is_as_wide_as_its_content(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are not folded for the width of a terminal that is not there."""
    monkeypatch.delenv("COLUMNS")
    names = [f"a_field_whose_name_is_longer_than_others_{number}" for number in range(9)]
    command.gateway.collections.defined = {"films": {"fields": dict.fromkeys(names, "text")}}
    listed = command.run("collections")
    assert ", ".join(names) in listed.out
    described = command.run("collections", "describe", "films")
    assert all(name in described.out for name in names)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("gateway collections ", ["list", "describe", "add-field", "expire"]),
        ("gateway collections add", ["add-field"]),
        ("gateway collections describe --js", ["--json"]),
        ("gateway col", ["collections"]),
    ],
)
def test_a_shell_completes_the_subcommands(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    found: list[str],
) -> None:
    """Though the group lists if none is named."""
    words = typed.split(" ")
    monkeypatch.setenv("_GATEWAY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    with pytest.raises(SystemExit) as ended:
        app(prog_name="gateway")
    assert not ended.value.code
    assert capsys.readouterr().out.split() == found


def test_a_collection_that_there_is_none_of_is_an_error(command: CommandLine) -> None:
    """The gateway's message is printed."""
    command.gateway.collections.error = NotFoundError("there is no collection 'plays'")
    ended = command.run("collections", "describe", "plays")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "gateway: there is no collection 'plays'\n"


def test_fields_are_added(command: CommandLine) -> None:
    """They are written as in the definition of a new collection."""
    ended = command.run("collections", "add-field", "films", "author=keyword,plot=text^2")
    assert (ended.code, ended.err) == (0, "")
    assert command.requests[-1].method == "PATCH"
    assert json.loads(command.requests[-1].content) == {
        "fields": {"author": "keyword", "plot": {"type": "text", "weight": 2}}
    }
    assert ended.out.startswith("films: author, plot filled in ")


def test_a_field_may_have_an_analysis_of_its_own(command: CommandLine) -> None:
    """It is written after a colon, and shown with the type."""
    fields = "plot=text^2:german:unfolded,code=text:3grams"
    command.run("collections", "add-field", "films", fields)
    defined = command.gateway.collections.defined["films"]["fields"]
    assert defined["plot"] == {
        "type": "text",
        "weight": 2,
        "language": "german",
        "folding": False,
    }
    assert defined["code"] == {"type": "text", "ngrams": 3}
    shown = " ".join(command.run("collections", "describe", "films").out.split())
    assert "plot text (german, unfolded) 2" in shown
    assert "code text (3grams) 1" in shown


def test_a_field_without_a_type_is_wrong_usage(command: CommandLine) -> None:
    """Nothing is sent."""
    ended = command.run("collections", "add-field", "films", "author")
    assert ended.code == 2
    assert "NAME=TYPE" in ended.err
    assert not command.requests
