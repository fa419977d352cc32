"""`gateway placement`, `gateway drain` and `gateway rebalance`, down to the HTTP routes."""

import json

import pytest

from hedgerow.gateway.cli import patience, placement
from hedgerow.gateway.cli.render import ranges
from tests.support.fake_operations import running_split
from tests.unit.support.command_line import CommandLine


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway with two workers; they do not wait between looks."""
    monkeypatch.setattr(placement, "POLL_S", 0.0)
    return CommandLine(monkeypatch, capsys)


def test_the_placement_names_each_workers_shards(command: CommandLine) -> None:
    """Worker, place, state and shards; and whether anything moves."""
    ended = command.run("placement")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert any("w-a" in line and "z/h" in line and "0-1" in line for line in lines)
    assert any("w-b" in line and "live" in line and "2-3" in line for line in lines)
    assert lines[-1] == "version 7: nothing moves"


def test_a_dry_run_shows_the_moves_to_come(command: CommandLine) -> None:
    """Moves that wait are shown with --dry-run only; their number always is."""
    command.gateway.placement.draining.add("w-b")
    ended = command.run("placement", "--dry-run")
    assert [line for line in ended.out.splitlines() if "waiting" in line]
    assert ended.out.splitlines()[-1] == "version 7: 2 moves to come, 0 of them in progress"
    assert "waiting" not in command.run("placement").out


def test_the_placement_names_a_split_in_progress(command: CommandLine) -> None:
    """As `gateway split --status` does."""
    command.gateway.placement.split = running_split("copying")
    said = "4 to 8 shards: copying, 3 of 4 old ones copied or left to clones; waits for the copies"
    last = command.run("placement").out.splitlines()[-2:]
    assert last == ["version 7: nothing moves", f"the shards are split, {said}"]


@pytest.mark.parametrize("arguments", [("placement",), ("drain", "w-b"), ("rebalance",)])
def test_a_worker_that_cannot_take_up_a_shard_is_named_with_the_reason(
    command: CommandLine, arguments: tuple[str, ...]
) -> None:
    """By each command that shows moves or waits for them; unsafe characters are escaped."""
    command.gateway.placement.draining.add("w-b")
    command.gateway.placement.error = "no such \x1bfile"
    waits = () if arguments == ("placement",) else ("--timeout", "0s")
    ended = command.run(*arguments, *waits)
    said = "w-a cannot take up shard 3 yet: no such \\x1bfile"
    assert said in (ended.err if waits else ended.out)


def test_an_interrupted_rebalance_goes_on(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends the command with exit code 1, and it says that the moves go on."""

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(placement, "_wait_until_settled", interrupt)
    ended = command.run("rebalance")
    assert (ended.code, ended.out, ended.err) == (1, "", "the moves go on\n")


def test_json_is_the_answer_as_it_is(command: CommandLine) -> None:
    """--json prints everything."""
    found = json.loads(command.run("placement", "--json").out)
    assert found["shards"][3]["owners"] == ["w-b"]
    assert [worker["id"] for worker in found["workers"]] == ["w-a", "w-b"]


def test_a_drain_ends_when_the_worker_holds_nothing(command: CommandLine) -> None:
    """It asks until the worker is drained, and says that it can be switched off."""
    ended = command.run("drain", "w-b")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "w-b holds no shard and can be switched off\n"
    assert command.gateway.placement.held == 0


def test_a_drain_that_takes_too_long_goes_on(command: CommandLine) -> None:
    """After the timeout the exit code is 1; the worker is still draining."""
    ended = command.run("drain", "w-b", "--timeout", "0s")
    assert (ended.code, ended.out) == (1, "")
    assert "still holds 2 shards; the drain goes on" in ended.err
    assert command.gateway.placement.draining == {"w-b"}


def test_a_drain_that_cannot_proceed_is_said(command: CommandLine) -> None:
    """If no other worker can take over the shards, the command does not wait for one."""
    command.gateway.placement.is_stuck = True
    ended = command.run("drain", "w-b")
    assert (ended.code, ended.out) == (1, "")
    said = "no other worker can take over the 2 shards of w-b without snapshots (snapshots.url);"
    assert ended.err.startswith(f"gateway: {said}")
    assert command.gateway.placement.draining == {"w-b"}
    listed = command.run("placement").out
    assert listed.endswith("nothing moves; 2 shards would, if snapshots.url were set\n")


def test_an_interrupted_drain_goes_on(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends the command with exit code 1, and it says how to end the drain."""

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(placement, "_wait_until_drained", interrupt)
    ended = command.run("drain", "w-b")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "the drain goes on; gateway drain w-b --cancel ends it\n"
    assert command.gateway.placement.draining == {"w-b"}


def test_a_drain_can_be_cancelled(command: CommandLine) -> None:
    """With --cancel, the worker is no longer draining; a second time it is an error."""
    command.gateway.placement.draining.add("w-b")
    ended = command.run("drain", "w-b", "--cancel")
    assert (ended.code, ended.out) == (0, "w-b keeps its shards\n")
    assert not command.gateway.placement.draining
    ended = command.run("drain", "w-b", "--cancel")
    assert (ended.code, ended.err) == (1, "gateway: the worker 'w-b' is not draining\n")


def test_a_worker_that_was_drained_keeps_no_shards(command: CommandLine) -> None:
    """Where it has none left when its drain is cancelled, that and what moves is said."""
    command.run("drain", "w-b")
    ended = command.run("drain", "w-b", "--cancel")
    said = "w-b holds no shard any more; it gets its share again\nversion 7: nothing moves\n"
    assert (ended.code, ended.out) == (0, said)


def test_a_drain_that_leaves_too_few_replicas_says_so(command: CommandLine) -> None:
    """No other worker was there to take over: shards have fewer replicas than they should."""
    command.gateway.placement.replicas = 2
    ended = command.run("drain", "w-b")
    said = "w-b holds no shard and can be switched off; 4 shards with fewer than 2 replicas\n"
    assert (ended.code, ended.out) == (0, said)


def test_an_unknown_worker_is_an_error(command: CommandLine) -> None:
    """A misspelt name is not waited for."""
    ended = command.run("drain", "w-x")
    assert (ended.code, ended.err) == (1, "gateway: there is no worker 'w-x'\n")


def test_rebalancing_ends_when_nothing_moves(command: CommandLine) -> None:
    """It asks once, and waits."""
    command.gateway.placement.draining.add("w-b")
    ended = command.run("rebalance")
    assert (ended.code, ended.out) == (0, "version 7: nothing moves\n")
    assert command.gateway.placement.has_rebalanced


@pytest.mark.parametrize("silence_s", [60.0, 0.0])
@pytest.mark.parametrize(
    ("arguments", "said", "more"),
    [
        (("drain", "w-b"), "w-b holds no shard and can be switched off\n", "the drain goes on"),
        (("rebalance",), "version 7: nothing moves\n", "the moves go on"),
    ],
)
def test_moves_outlast_a_gateway_that_is_away(
    command: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
    more: str,
    silence_s: float,
) -> None:
    """A 503 on the way is waited out for a minute; then the error says that the moves go on."""
    monkeypatch.setattr(patience, "SILENCE_S", silence_s)
    command.fail_one_look("no Redis")
    ended = command.run(*arguments)
    if silence_s:
        assert (ended.code, ended.out) == (0, said)
    else:
        assert (ended.code, ended.err) == (1, f"gateway: no Redis; {more}\n")


@pytest.mark.parametrize(
    ("shards", "text"),
    [([], ""), ([3], "3"), ([0, 1], "0-1"), ([0, 1, 2, 4, 6, 7], "0-2,4,6-7")],
)
def test_shards_are_written_as_ranges(shards: list[int], text: str) -> None:
    """As `shard-worker --shards` takes them."""
    assert ranges(shards) == text
