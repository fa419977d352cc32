"""`gateway synonyms`, down to the HTTP routes."""

import json
from pathlib import Path

import pytest

from tests.unit.support.command_line import CommandLine

LINES = """# what people call them
tv, television  # with a comment

laptop, portable => notebook, ultrabook
"""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway."""
    return CommandLine(monkeypatch, capsys)


def test_a_file_replaces_the_synonyms_and_they_are_shown_as_one(
    command: CommandLine, tmp_path: Path
) -> None:
    """What is shown can be set again."""
    file = tmp_path / "synonyms.txt"
    file.write_text(LINES)
    ended = command.run("synonyms", "set", "shop", str(file))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "shop: 1 group and 2 one-way rules, version 1\n"
    shown = command.run("synonyms", "show", "shop").out
    assert shown.splitlines() == [
        "tv, television",
        "laptop => notebook, ultrabook",
        "portable => notebook, ultrabook",
    ]
    answer = json.loads(command.run("synonyms", "show", "shop", "--json").out)
    assert answer["groups"] == [["tv", "television"]]
    file.write_text(shown)
    command.run("synonyms", "set", "shop", str(file))
    assert command.run("synonyms", "show", "shop").out == shown


def test_they_are_removed(command: CommandLine) -> None:
    """The collection stays."""
    assert command.run("synonyms", "remove", "shop").out == "shop has no synonyms\n"
    assert command.run("synonyms", "show", "shop").out == ""


@pytest.mark.parametrize("line", ["=> tv", "tv =>", ","])
def test_a_line_without_a_text_on_one_side_is_refused(
    command: CommandLine, tmp_path: Path, line: str
) -> None:
    """The line is named, and nothing is sent."""
    file = tmp_path / "synonyms.txt"
    file.write_text(f"a, b\n{line}\n")
    ended = command.run("synonyms", "set", "shop", str(file))
    assert ended.code != 0
    assert "line 2" in ended.err
    assert command.requests == []
