"""`gateway reload`."""

import pytest

from hedgerow.common.errors import ConflictError
from tests.unit.support.command_line import CommandLine


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway."""
    return CommandLine(monkeypatch, capsys)


def test_it_says_what_there_is_now(command: CommandLine) -> None:
    """The profiles, and how many workers have taken them."""
    ended = command.run("reload")
    assert ended.code == 0
    assert ended.out.startswith("reloaded 3 rank profiles (bm25, noop, popular) in 1 worker, ")
    (request,) = command.requests
    assert (request.method, request.url.path) == ("POST", "/v1/reload")


def test_a_refused_reload_says_why(command: CommandLine) -> None:
    """One line with the worker's reason, and exit code 1."""
    why = "the reload is refused by worker-0: rank_profiles.x.second_phase: a:b: cannot import"
    command.gateway.reloader.error = ConflictError(why)
    ended = command.run("reload")
    assert (ended.code, ended.err) == (1, f"gateway: {why}\n")
