"""The benchmark's command, with parts that measure nothing."""

import sys
from pathlib import Path

import pytest

from bench import __main__ as command
from bench.costs.page import to_markdown
from bench.harness.options import Options
from bench.harness.report import Section

ROOT = Path(__file__).parents[2]


def section(title: str) -> Section:
    """One row."""
    return Section(title=title, load="nothing", columns=("", "figure"), rows=[["row", "1"]])


async def ends(_options: Options) -> Section:
    """A part that goes well."""
    return section("First")


async def is_interrupted(_options: Options) -> Section:
    """A part that is interrupted."""
    raise KeyboardInterrupt


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where docs/benchmarks.md would be."""
    monkeypatch.setattr(command, "_DOCUMENT", tmp_path / "benchmarks.md")
    monkeypatch.setattr(sys, "argv", ["bench"])
    # It would stay as the command has it, and hide what later tests look for.
    monkeypatch.setattr(command, "configure_logging", lambda *_: None)
    return tmp_path / "benchmarks.md"


def use(monkeypatch: pytest.MonkeyPatch, **parts: object) -> None:
    """Have these parts, and no others."""
    monkeypatch.setattr(command, "_PARTS", parts)
    monkeypatch.setattr(command, "_WHOLE", list(parts))


def test_a_whole_run_writes_the_page(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it prints is what the page is."""
    use(monkeypatch, first=ends)
    assert command.main() == 0
    assert page.read_text(encoding="utf-8") == capsys.readouterr().out


def test_an_interrupted_run_shows_what_it_has(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parts that have ended are printed; the page stays as it was."""
    use(monkeypatch, first=ends, second=is_interrupted)
    assert command.main() == 130
    assert "## First" in capsys.readouterr().out
    assert not page.exists()


def test_texts_that_are_missing_are_told_before_anything_is_measured(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A requirement of the last part ends the run at its start, with the command to meet it."""
    use(monkeypatch, first=ends, indexing=ends)
    monkeypatch.setattr("bench.harness.corpus.missing_packages", lambda: ["dict-something"])
    assert command.main() == 2
    captured = capsys.readouterr()
    assert "apt-get install dict-something" in captured.err
    assert captured.out == ""
    assert not page.exists()


def test_page_of_the_benchmarks_is_introduced_as_the_code_has_it() -> None:
    """But for figures and machine, docs/benchmarks.md says what the next run would say."""
    published = " ".join((ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8").split())
    now = to_markdown([], "the command", 5, 0.0)
    last = now[now.index("Latencies of the open loop") :]
    assert "(peers.svg)" in last
    assert " ".join(last.split()) in published
