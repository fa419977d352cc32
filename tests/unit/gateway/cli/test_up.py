"""What `gateway up` says."""

import errno
import io
from pathlib import Path

import pytest

from hedgerow.gateway.cli.terminal import Terminal
from hedgerow.gateway.cli.up import Story
from hedgerow.gateway.local.processes.supervisor import Died, Said, Stopped
from tests.unit.support.command_line import CommandLine


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> CommandLine:
    """Run commands in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch, capsys)


class Gone(io.StringIO):
    """A terminal, or a pipe, whose other end is closed."""

    def __init__(self, error: OSError) -> None:
        """Fail with this error."""
        super().__init__()
        self.error = error

    def write(self, _text: str) -> int:
        """Fail."""
        raise self.error


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), BrokenPipeError(errno.EPIPE, "closed")]
)
def test_a_terminal_that_is_gone_stops_no_drain(error: OSError) -> None:
    """A line that cannot be printed is dropped, and nothing is raised."""
    terminal = Terminal(Gone(error))
    terminal.say("draining …")
    story = Story(terminal)
    story.is_live = True
    story.tell(Died("worker-0", 1, "was killed by SIGKILL", 0.5))


@pytest.mark.parametrize(
    ("is_overdue", "told"), [(True, "did not drain in time"), (False, "was killed before it")]
)
def test_it_is_told_why_a_drain_ended_by_a_kill(is_overdue: bool, told: str) -> None:
    """A child whose time was up is distinguished from one that a second Ctrl-C has killed."""
    said = io.StringIO()
    Story(Terminal(said)).tell(Stopped("worker-0", 7, "was killed by SIGKILL", is_overdue))
    assert f"worker-0 (pid 7) {told}" in said.getvalue()


async def test_that_anyone_may_use_the_gateways_is_not_said_again() -> None:
    """The command says so when it is ready; the gateways' own warnings come a moment before."""
    said = io.StringIO()
    story = Story(Terminal(said))
    story.is_live = True
    story.tell(Said("gateway", "warning", "open_to_the_network host=0.0.0.0 reason=there is"))
    assert said.getvalue() == ""
    story.tell(Said("gateway", "warning", "shortage resource=disk"))
    assert "gateway: shortage resource=disk" in said.getvalue()


def test_ray_that_is_missing_is_named_with_its_command(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra, --ray says how to install it."""
    monkeypatch.setattr("hedgerow.gateway.cli.up.find_spec", lambda _name: None)
    ended = command.run("up", "--ray", "auto")
    assert ended.code == 1
    assert "pip install 'hedgerow[ray]'" in ended.err


@pytest.mark.parametrize("option", ["--gateways", "--worker-cpus"])
def test_what_is_for_ray_alone_is_refused_without_it(command: CommandLine, option: str) -> None:
    """An option that would have no effect is an error."""
    ended = command.run("up", option, "2")
    assert ended.code == 1
    assert f"{option}: is for a cluster on Ray (--ray)" in ended.err
