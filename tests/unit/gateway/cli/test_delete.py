"""`gateway delete`, down to the HTTP routes."""

from typing import Any

import msgspec
import pytest

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.shapes.answer import TotalHits
from hedgerow.gateway.shapes.delete_by_query import MissingShard
from tests.unit.support.command_line import CommandLine


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway."""
    return CommandLine(monkeypatch, capsys)


def script(command: CommandLine, *answers: dict[str, Any]) -> None:
    """Answer with these changes of a complete answer."""
    deletions = command.gateway.delete_by_query
    deletions.answers = [msgspec.structs.replace(deletions.answers[0], **one) for one in answers]


def test_requests_follow_until_none_is_left(command: CommandLine) -> None:
    """Each takes a bounded time; the whole number is said at the end."""
    script(command, {"deleted": 7, "complete": False, "reason": "the time is up"}, {})
    ended = command.run("delete", "films", "wing", "--filter", "n:1")
    assert (ended.code, ended.out) == (0, "10 documents deleted\n")
    assert ended.err == "7 documents deleted so far\n"
    (name, body), _ = command.gateway.delete_by_query.asked
    assert (name, body.query, body.filter, body.limit) == ("films", "wing", "n:1", None)
    assert body.timeout_ms == 20_000


def test_a_limit_is_shared_by_the_requests(command: CommandLine) -> None:
    """That it was reached is what was wanted."""
    script(
        command,
        {"deleted": 7, "complete": False, "reason": "the time is up"},
        {"deleted": 2, "complete": False, "reason": "the limit is reached"},
    )
    ended = command.run("delete", "films", "wing", "--limit", "9")
    assert (ended.code, ended.out) == (0, "9 documents deleted\n")
    assert [body.limit for _, body in command.gateway.delete_by_query.asked] == [9, 2]


@pytest.mark.parametrize("relation", ["eq", "gte"])
def test_a_dry_run_says_what_would_be_deleted(command: CommandLine, relation: Any) -> None:
    """It asks once; a lower bound is said to be one."""
    script(
        command,
        {
            "found": TotalHits(5, relation),
            "deleted": 0,
            "complete": False,
            "dry_run": True,
            "warnings": ["there is no field x"],
        },
    )
    ended = command.run("delete", "films", "wing", "--dry-run")
    least = "at least " if relation == "gte" else ""
    assert (ended.code, ended.out) == (0, f"{least}5 documents would be deleted\n")
    assert ended.err == "warning: there is no field x\n"
    assert len(command.gateway.delete_by_query.asked) == 1


def test_shards_that_were_not_searched_are_named(command: CommandLine) -> None:
    """It ends with 1, since documents may be left."""
    missing = [MissingShard(1, Outcome.TIMED_OUT, "no reply")]
    reason = "shards were not searched"
    script(
        command,
        {"deleted": 0, "complete": False, "reason": reason, "missing_shards": missing},
    )
    ended = command.run("delete", "films", "wing")
    assert (ended.code, ended.out) == (1, "0 documents deleted\n")
    assert "shard 1 was not searched: timed_out: no reply\n" in ended.err
    assert f"gateway: some documents may be left: {reason}\n" in ended.err
