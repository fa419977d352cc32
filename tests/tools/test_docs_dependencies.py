"""docs/dependencies.md against pyproject.toml."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DOCUMENT = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")


def names(requirements: list[str]) -> list[str]:
    """The packages of requirement lines, sorted."""
    found = [re.match(r"[A-Za-z0-9._-]+", line) for line in requirements]
    return sorted(one[0].lower() for one in found if one)


def rows(heading: str) -> dict[str, str]:
    """Package → reason, of one section's table."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", DOCUMENT, re.DOTALL | re.MULTILINE)
    assert section is not None, f"no section {heading!r}"
    pairs = re.findall(r"^\| ([a-z0-9._-]+) \| (.+) \|$", section[1], re.MULTILINE)
    return dict(pair for pair in pairs if pair[0] != "package")


@pytest.mark.parametrize(
    ("heading", "requirements"),
    [
        ("At run time", PROJECT["project"]["dependencies"]),
        ("Optional", [*chain.from_iterable(PROJECT["project"]["optional-dependencies"].values())]),
        ("For development", [*chain.from_iterable(PROJECT["dependency-groups"].values())]),
    ],
)
def test_each_dependency_has_its_reason(heading: str, requirements: list[str]) -> None:
    """Each section names exactly the packages that pyproject.toml asks for, with a reason each."""
    documented = rows(heading)
    assert sorted(documented) == names(requirements)
    assert all(len(reason) > 10 for reason in documented.values())
