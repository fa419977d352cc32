"""docs/lab.md as it is committed: whole, with its pictures, and with the code of today."""

import ast
import inspect
import re
import sys
from operator import attrgetter
from pathlib import Path

import pytest

from lab import __main__ as command
from lab.finding import code_of

_DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_shows_every_experiment_with_its_pictures() -> None:
    """docs/lab.md is of a run of all that there are, and its pictures are beside it, no others."""
    page = (_DOCS / "lab.md").read_text(encoding="utf-8")
    assert re.findall(r"^`make lab ONLY=(.+)`$", page, re.MULTILINE) == list(command.EXPERIMENTS)
    named = set(re.findall(r"\((lab-.+?\.svg)\)", page))
    assert named == {path.name for path in _DOCS.glob("lab-*.svg")}
    assert "by `make lab`, on " in page


def _quoted(name: str) -> list[tuple[str, str]]:
    """What docs/lab.md quotes for an experiment: where it stands, and its text."""
    page = (_DOCS / "lab.md").read_text(encoding="utf-8")
    _, _, section = page.partition(f"\n`make lab ONLY={name}`\n")
    section = section.partition("\n`make lab ONLY=")[0]
    quote = re.compile(r"^(\S+\.py, `\S+`):\n\n```python\n(.+?)\n```$", re.MULTILINE | re.DOTALL)
    return quote.findall(section)


def _to_be_quoted(name: str) -> list[tuple[str, str]]:
    """What the experiment would quote today: the arguments of `code_of` in its module."""
    module = sys.modules[command.EXPERIMENTS[name].__module__]
    quotes = [
        code_of(attrgetter(ast.unparse(call.args[0]))(module))
        for call in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "code_of"
    ]
    return [(one.where, one.text) for one in quotes]


@pytest.mark.parametrize("name", command.EXPERIMENTS)
def test_the_page_quotes_the_code_as_it_is(name: str) -> None:
    """Code that docs/lab.md shows is the code of today: who changes it runs the lab again."""
    quotes = _to_be_quoted(name)
    assert quotes
    assert _quoted(name) == quotes
