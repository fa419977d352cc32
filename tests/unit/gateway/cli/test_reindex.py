"""`gateway reindex`, down to the HTTP routes."""

import json

import pytest

from hedgerow.common.errors import ConflictError
from hedgerow.gateway.cli import reindex
from hedgerow.gateway.shapes.reindex import ReindexBody
from tests.unit.support.command_line import CommandLine

BEGIN = ("reindex", "shop-1", "shop-2", "--alias", "shop")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway; they do not wait between looks."""
    monkeypatch.setattr(reindex, "POLL_S", 0.0)
    return CommandLine(monkeypatch, capsys)


def test_a_reindex_ends_with_the_switch(command: CommandLine) -> None:
    """It says what still follows, and how that ends."""
    ended = command.run(*BEGIN)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "shop-1 to shop-2, alias shop: switched after 2.5 s, 1,000 documents",
        "shop-1 follows shop-2 until you remove it, or end the reindex (gateway reindex --end)",
    ]
    assert command.gateway.reindexes.begun == [ReindexBody("shop-1", "shop-2", "shop")]


def test_documents_that_do_not_fit_are_shown(command: CommandLine) -> None:
    """With status 1: nothing has switched, and the reindex waits."""
    command.gateway.reindexes.states = ["copying"]
    command.gateway.reindexes.changes = {
        "faulty": 3,
        "first_faulty": [{"id": "d7", "reason": "price is not a whole number"}],
        "waits_for": "3 documents to fit",
        "is_stopped": True,
    }
    ended = command.run(*BEGIN)
    assert ended.code == 1
    line, *faulty = ended.out.splitlines()
    assert line.endswith("1,000 of 1,200 documents, 3 faulty; waits for 3 documents to fit")
    assert faulty == ["  d7: price is not a whole number", "  and 2 more documents"]
    assert command.run(*BEGIN, "--skip-faulty").code == 1
    assert command.gateway.reindexes.begun[-1].skip_faulty


def test_the_state_is_shown_without_a_change(command: CommandLine) -> None:
    """With --status, as text or as JSON."""
    assert command.run("reindex", "--status").out == "there was no reindex yet\n"
    command.gateway.reindexes.states = ["copying"]
    found = json.loads(command.run("reindex", "--status", "--json").out)
    assert (found["reindex"]["from"], found["reindex"]["state"]) == ("shop-1", "copying")


def test_a_reindex_is_cancelled_or_ended(command: CommandLine) -> None:
    """The command waits until neither collection follows the other."""
    cancelled = command.run("reindex", "--cancel")
    assert (cancelled.code, "cancelled" in cancelled.out) == (0, True)
    ended = command.run("reindex", "--end")
    assert (ended.code, "shop: ended" in ended.out) == (0, True)


def test_a_refused_reindex_says_why(command: CommandLine) -> None:
    """In one line, with status 1."""
    command.gateway.reindexes.refusal = ConflictError("shop-2 has 3 documents")
    ended = command.run(*BEGIN)
    assert (ended.code, "shop-2 has 3 documents" in ended.err) == (1, True)


def test_a_reindex_that_is_given_up_says_why(command: CommandLine) -> None:
    """With status 1, since the alias stands for what it stood for."""
    command.gateway.reindexes.states = ["cancelled"]
    command.gateway.reindexes.changes = {"error": "shop-2 was removed"}
    ended = command.run(*BEGIN)
    assert (ended.code, "given up: shop-2 was removed" in ended.out) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [("reindex",), ("reindex", "a", "b"), ("reindex", "a"), ("reindex", "--status", "--cancel")],
)
def test_what_is_missing_is_named(command: CommandLine, arguments: tuple[str, ...]) -> None:
    """A usage error, with status 2."""
    assert command.run(*arguments).code == 2


def test_a_reindex_outlasts_the_commands_patience(command: CommandLine) -> None:
    """After --timeout, the command ends with an error, and the reindex goes on."""
    ended = command.run(*BEGIN, "--timeout", "0s")
    assert (ended.code, "the reindex goes on" in ended.err) == (1, True)
