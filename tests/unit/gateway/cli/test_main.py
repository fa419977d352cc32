"""The command itself: its help, its exit codes, and what it imports."""

import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from hedgerow.gateway.cli.main import COMMANDS, app, run_call
from tests.unit.support.command_line import CommandLine


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway."""
    return CommandLine(monkeypatch, capsys)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_listing_says_what_the_command_says(name: str) -> None:
    """The line of `gateway --help` is the first line of the command's own help."""
    target, line = COMMANDS[name]
    module, _, function = target.partition(":")
    documentation = inspect.getdoc(getattr(import_module(module), function))
    assert documentation is not None
    assert documentation.splitlines()[0] == line


def test_the_listing_loads_no_command() -> None:
    """`gateway --help` imports neither the HTTP stack nor the settings, so that it is quick."""
    program = (
        "import sys, json\n"
        "from hedgerow.gateway.cli.main import run\n"
        "sys.argv = ['gateway', '--help']\n"
        "try: run()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = set(json.loads(ended.stdout.splitlines()[-1]))
    assert "hedgerow.gateway.cli.main" in loaded
    assert not {"fastapi", "httpx", "pydantic", "ir_measures", "tantivy"} & loaded
    for name in COMMANDS:
        assert name.encode() in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (["key", "list"], {"structlog", "tantivy"}),
        (["snapshot", "list"], {"tantivy"}),
    ],
)
def test_a_command_loads_no_other(arguments: list[str], unused: set[str], tmp_path: Path) -> None:
    """Of a group, only the command that is run is imported, and not what others of it need."""
    program = (
        "import sys, json\n"
        "from hedgerow.gateway.cli.main import run\n"
        "sys.argv = ['gateway', *sys.argv[1:]]\n"
        "try: run()\n"
        "except SystemExit: pass\n"
        "print()\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    command = [sys.executable, "-c", program, *arguments]
    ended = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path)
    loaded = set(json.loads(ended.stdout.splitlines()[-1]))
    commands = {f"hedgerow.gateway.cli.{name}" for name in ("snapshot", "query", "up")}
    unused |= {"hedgerow.gateway.client", "rich.progress", *commands}
    assert not unused & loaded


def test_without_a_command_the_listing_is_shown(command: CommandLine) -> None:
    """`gateway` alone shows its commands, and ends with the code of a usage error."""
    ended = command.run()
    assert ended.code == 2
    assert "query" in ended.out


def test_an_unknown_command_is_misuse(command: CommandLine) -> None:
    """A command that does not exist is one line on standard error."""
    ended = command.run("querry")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "querry" in ended.err


def test_a_bug_is_told_without_a_traceback(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error ends with 1 and one line; the traceback is shown on request."""
    command.answer = lambda _: 1 / 0  # type: ignore[assignment,return-value] # on purpose
    ended = command.run("status")
    assert (ended.code, ended.err) == (1, "gateway: ZeroDivisionError: division by zero\n")
    monkeypatch.setenv("HEDGEROW_LOG_LEVEL", "debug")
    with pytest.raises(ZeroDivisionError):
        command.run("status")


@pytest.mark.parametrize("arguments", [("-h",), ("query", "-h"), ("snapshot", "-h")])
def test_h_is_help(command: CommandLine, arguments: tuple[str, ...]) -> None:
    """Of the program, of a command and of a group."""
    ended = command.run(*arguments)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == command.run(*arguments[:-1], "--help").out


COMPLETE = """
import json, os, sys
from hedgerow.gateway.cli.main import run
lines, sys.argv = sys.argv[1:], ["gateway"]
os.environ["_GATEWAY_COMPLETE"] = "complete_bash"
for line in lines:
    os.environ |= {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    try: run()
    except SystemExit as end: assert not end.code
    print()
    print(json.dumps([one for one in sys.modules if ".gateway.cli." in one]))
"""


def test_a_shell_completes_commands_and_options() -> None:
    """The names of commands are completed without loading any."""
    expected = {
        "gateway qu": (["query", "quarantine"], []),
        "gateway snapshot cr": (["create"], []),
        "gateway query --prof": (["--profile"], ["query"]),  # and so it is loaded from then on
        "gateway query --priority ba": (["batch"], ["query"]),
    }
    command = [sys.executable, "-c", COMPLETE, *expected]
    ended = subprocess.run(command, capture_output=True, check=True, text=True)
    shown = iter(one for one in ended.stdout.splitlines() if one)
    for line, (completed, loaded) in expected.items():
        assert [next(shown) for _ in completed] == completed, line
        commands = {name.rpartition(".")[2] for name in json.loads(next(shown))}
        assert commands & {name.partition(" ")[0] for name in COMMANDS} == set(loaded), line


@pytest.mark.parametrize(
    "arguments",
    [
        ("query", "wing", "--collection", "films"),
        ("top", "--once"),
        ("simulate", "--list"),
        ("key", "list"),
        ("key", "list", "--data", "."),
    ],
)
def test_a_misspelt_variable_is_an_error_of_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    """Also of those that read no settings, and of those that connect in a way of their own."""
    monkeypatch.setenv("HEDGEROW_GATEWAY__PROT", "1")
    with pytest.raises(SystemExit) as ended:
        run_call(lambda: app(arguments, standalone_mode=False))
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "gateway: HEDGEROW_GATEWAY__PROT: there is no such setting; "
        "did you mean HEDGEROW_GATEWAY__PORT?\n"
    )
