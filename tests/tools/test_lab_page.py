"""docs/lab.md as it is committed: whole, with its pictures, and with references to its code."""

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
    """docs/lab.md comes from a run of all experiments; beside it are its pictures, no others."""
    page = (_DOCS / "lab.md").read_text(encoding="utf-8")
    assert re.findall(r"^`make lab ONLY=(.+)`$", page, re.MULTILINE) == list(command.EXPERIMENTS)
    named = set(re.findall(r"\((lab-.+?\.svg)\)", page))
    assert named == {path.name for path in _DOCS.glob("lab-*.svg")}
    assert "by `make lab`, on " in page


def _quoted(name: str) -> list[tuple[str, str]]:
    """What docs/lab.md quotes for an experiment: the file and the name in it."""
    page = (_DOCS / "lab.md").read_text(encoding="utf-8")
    _, _, section = page.partition(f"\n`make lab ONLY={name}`\n")
    section = section.partition("\n`make lab ONLY=")[0]
    quote = re.compile(r"^```{literalinclude} \.\./(\S+)\n:pyobject: (\S+)$", re.MULTILINE)
    return quote.findall(section)


def _to_be_quoted(name: str) -> list[tuple[str, str]]:
    """What the experiment would quote today: the arguments of `code_of` in its module."""
    module = sys.modules[command.EXPERIMENTS[name].__module__]
    quotes = [
        code_of(attrgetter(ast.unparse(call.args[0]))(module))
        for call in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "code_of"
    ]
    return [(one.path, one.name) for one in quotes]


@pytest.mark.parametrize("name", command.EXPERIMENTS)
def test_the_page_quotes_the_code_where_it_is(name: str) -> None:
    """docs/lab.md quotes code by reference, so that editing the code does not demand a new run."""
    quotes = _to_be_quoted(name)
    assert quotes
    assert _quoted(name) == quotes
