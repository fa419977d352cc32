"""docs/architecture.md against the code."""

import re
from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = ("common", "gateway", "shard_worker")


def steps(walk: str) -> list[str]:
    """The places of one walk's steps, as `module:name`, in their order."""
    section = re.search(
        rf"<!-- {walk} walk: begin -->(.*?)<!-- {walk} walk: end -->", PAGE, re.DOTALL
    )
    assert section is not None
    return re.findall(r"^\| \d+ \| `([\w.:]+)` \|", section[1], re.MULTILINE)


@pytest.mark.parametrize("place", [*steps("query"), *steps("document")])
def test_each_step_of_a_walk_is_in_the_code(place: str) -> None:
    """What a step names is defined in the module that it names."""
    module, _, name = place.partition(":")
    found = reduce(getattr, name.split("."), import_module(f"hedgerow.{module}"))
    assert found.__module__ == f"hedgerow.{module}"


def test_the_steps_are_numbered_in_order() -> None:
    """The steps of each walk are numbered from 1 without gaps."""
    for walk in ("query", "document"):
        numbers = re.findall(
            r"^\| (\d+) \| `", PAGE.partition(f"{walk} walk: begin")[2], re.MULTILINE
        )
        count = len(steps(walk))
        assert [int(number) for number in numbers[:count]] == list(range(1, count + 1))


def test_every_file_and_folder_that_is_named_is_there() -> None:
    """Each path on the page exists."""
    named = re.findall(r"`([a-z_]+/[\w./]*)`", PAGE)
    assert named
    assert [path for path in named if not (ROOT / path).exists() and path != "unit/"] == []


def test_every_room_is_on_the_page() -> None:
    """Each folder of the gateway and of the worker has its row."""
    rooms = [
        f"{package}/{folder.name}/"
        for package in ("gateway", "shard_worker")
        for folder in (ROOT / package).iterdir()
        if (folder / "__init__.py").exists()
    ]
    assert rooms
    assert [room for room in rooms if f"`{room}`" not in PAGE] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_says_what_it_is(package: str) -> None:
    """Each folder's docstring says which file to open first."""
    for init in (ROOT / package).rglob("__init__.py"):
        room = ".".join(("hedgerow", *init.parent.relative_to(ROOT).parts))
        text = " ".join((import_module(room).__doc__ or "").split())
        assert "pen `" in text or "only module" in text, room


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_few_modules_at_its_root(package: str) -> None:
    """At most eight lie beside the folders."""
    modules = [path for path in (ROOT / package).glob("*.py") if path.name != "__init__.py"]
    assert 0 < len(modules) <= 8
