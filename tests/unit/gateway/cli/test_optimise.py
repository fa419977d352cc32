"""`gateway optimise`: it asks once, waits for every replica, and says what has come of it."""

from typing import Any

import pytest

from hedgerow.common.errors import NotFoundError
from hedgerow.gateway.cli import optimise
from tests.unit.support.command_line import CommandLine


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway, and wait for nothing."""
    monkeypatch.setattr(optimise, "POLL_S", 0.0)
    return CommandLine(monkeypatch, capsys)


def index(segments: int, wanted_at_ms: int | None, waiting: int | None) -> dict[str, Any]:
    """The state of the indexes, as in the status."""
    return {"segments": segments, "wanted_at_ms": wanted_at_ms, "waiting": waiting}


def test_it_waits_for_every_replica(command: CommandLine) -> None:
    """An earlier request, or a Redis that does not answer, is not taken for the end."""
    command.gateway.optimiser.indexes = [
        index(14, 900, 0),
        index(14, 900, 0),
        index(14, 1000, 2),
        index(9, None, None),
        index(1, 1000, 1),
        index(1, 1000, 0),
    ]
    ended = command.run("optimise", "books")
    assert (ended.code, ended.err) == (0, "")
    assert "14 segments a shard before, 1 segment a shard now" in " ".join(ended.out.split())
    assert command.gateway.optimiser.asked == ["books"]
    assert len(command.gateway.optimiser.indexes) == 1


def test_it_gives_up_in_time(command: CommandLine) -> None:
    """It says how many replicas are missing, and that they go on."""
    command.gateway.optimiser.indexes = [index(14, 1000, 3)]
    ended = command.run("optimise", "books", "--timeout", "50ms")
    assert (ended.code, ended.out) == (1, "")
    assert "after 50ms 3 replicas have yet to optimise" in ended.err


def test_a_collection_that_there_is_none_of(command: CommandLine) -> None:
    """It is named, nothing is asked for, and the exit code is that of a failure."""
    ended = command.run("optimise", "nothing")
    assert (ended.code, ended.err) == (1, "gateway: there is no collection 'nothing'\n")
    assert command.gateway.optimiser.asked == []


def test_one_that_is_dropped_meanwhile(command: CommandLine) -> None:
    """What the gateway says of it is printed."""
    command.gateway.optimiser.indexes = [index(3, None, 0)]
    command.gateway.optimiser.error = NotFoundError("there is no collection 'books'")
    ended = command.run("optimise", "books")
    assert (ended.code, ended.err) == (1, "gateway: there is no collection 'books'\n")
